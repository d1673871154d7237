import type { SpawnOptions } from 'node:child_process'

export function findProgram(name: string): string | undefined
export function run(program: string, parameters: string[], options?: SpawnOptions): Promise<{ code: number | string; output: string }>
export function mustRun(program: string, parameters: string[], options?: SpawnOptions): Promise<string>
