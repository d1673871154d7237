export function createImageFolder(busybox: string): Promise<string>
export function provideDebianArchive(options?: { log?: (line: string) => void }): Promise<string>
export function readMirror(): Promise<{ uri: string; distribution: string; keyring: string }>
