import type { Readable } from 'node:stream'

export interface EngineCallOptions {
  body?: unknown
  timeoutMs?: number
}

export function callEngine(socketPath: string, method: string, path: string, options?: EngineCallOptions): Promise<{ status: number; text: string }>
export function askEngine(socketPath: string, method: string, path: string, options?: EngineCallOptions): Promise<unknown>
export function whyNoAnswer(socketPath: string): Promise<string | undefined>
export function hasImage(socketPath: string, reference: string): Promise<boolean>
export function importImage(socketPath: string, archive: Readable, reference: string, changes?: string[]): Promise<void>
