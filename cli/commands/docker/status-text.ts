import type { Container } from '#core/api/schemas.ts'

/** A container's status in the words of the guide. */
export function statusText(status: Container['status']): string {
  switch (status) {
    case 'exited':
      return 'Stopped'
    default:
      return status.charAt(0).toUpperCase() + status.slice(1)
  }
}
