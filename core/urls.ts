/** `http://address:port`. IPv6 addresses stand in brackets in a URL. */
export function httpUrl(address: string, port: number): string {
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`
}
