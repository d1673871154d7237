import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * A ticket lets its bearer fetch one path from one server for some time. Whoever shares the server's secret can issue it, so the
 * secret itself is never given away. `EXPIRES.MAC`, expiry in Unix seconds.
 */
export function issueTicket(secret: string, path: string, validSeconds: number): string {
  const expires = String(Math.floor(Date.now() / 1000) + validSeconds)
  return `${expires}.${macOf(secret, path, expires)}`
}

/** Whether `ticket` was issued for this path with this secret, and is still valid. */
export function isTicketValid(secret: string, path: string, ticket: string): boolean {
  const [, expires = '', mac = ''] = /^(\d{1,12})\.([0-9a-f]{64})$/.exec(ticket) ?? []
  if (expires === '' || Number(expires) * 1000 < Date.now()) return false
  return timingSafeEqual(Buffer.from(mac, 'hex'), Buffer.from(macOf(secret, path, expires), 'hex'))
}

// --- internal ---

function macOf(secret: string, path: string, expires: string): string {
  return createHmac('sha256', secret).update(`${expires}\n${path}`).digest('hex')
}
