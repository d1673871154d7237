export function readIfThere(path: string): string
export function tail(text: string, lines?: number): string
