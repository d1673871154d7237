export const DEFAULT_SOCKET: string

export class EngineSetupError extends Error {}

export type Log = (line: string) => void

export interface ProvidedEngine {
  socketPath: string
  /** Ends the Engine; there only if it was started by the call that returned this. */
  stop: (() => Promise<void>) | undefined
}

export interface Daemon {
  pid: number | undefined
  /** Why it does not run any more. */
  ended: string | undefined
  stop(): Promise<void>
}

export function findEngine(environment?: NodeJS.ProcessEnv): Promise<{ socketPath: string; missing?: undefined } | { missing: string; socketPath?: undefined }>
export function whyNotInstallable(): string | undefined
export function whatIsMissing(): string | undefined
export function installEngine(options?: { log?: Log }): Promise<void>
export function startEngine(options?: { log?: Log; logFile?: string; socketPath?: string }): Promise<{ socketPath: string; stop: () => Promise<void> }>
export function provideEngine(options?: { log?: Log; logFile?: string; environment?: NodeJS.ProcessEnv }): Promise<ProvidedEngine>
export function storageArguments(directory: string): string[]
export function mtuArguments(): string[]
export function spawnDaemon(program: string, parameters: string[], options: { logFile: string; env?: NodeJS.ProcessEnv; cwd?: string }): Daemon
export function untilAnswer(socketPath: string, whyEnded: () => string | undefined, deadlineMs?: number): Promise<string | undefined>
