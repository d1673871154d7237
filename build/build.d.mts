export function buildAll(options?: { log?: (line: string) => void }): Promise<void>
