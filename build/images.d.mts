export function createImageFolder(busybox: string): Promise<string>
export function provideDebianArchive(options?: { log?: (line: string) => void }): Promise<string>
