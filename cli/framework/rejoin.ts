import { setTimeout as delay } from 'node:timers/promises'
import { isHakuError, systemErrorCode } from '#core/errors.ts'

/** Pauses between tries: together longer than a restart of the Host takes. */
const PAUSES_MS = [250, 500, 1000, 2000, 4000, 4000, 4000]

/**
 * Runs `attempt`, and again when the link to the Host was lost, until it succeeds or the Host stays away. Each attempt calls
 * `joined` once it has the Host's ear: then the count of failures begins anew. Unless the Host was `reached` already, there
 * is no second try before the first contact, so that an absent Host is told at once.
 */
export async function rejoin<T>(attempt: (joined: () => void) => Promise<T>, { reached }: { reached: boolean }): Promise<T> {
  let failures = reached ? 0 : PAUSES_MS.length
  for (;;) {
    try {
      return await attempt(() => {
        failures = 0
      })
    } catch (error) {
      const pause = PAUSES_MS[failures++]
      if (pause === undefined || !isLinkError(error)) throw error
      await delay(pause)
    }
  }
}

/** Whether the link to the Host is what failed. */
export function isLinkError(error: unknown): boolean {
  return isHakuError(error, 'host.unreachable', 'host.stopping') || LOST_RE.test(systemErrorCode(error) ?? '')
}

/** Whether it failed so early that the Host can not have heard anything. */
export function isNeverSent(error: unknown): boolean {
  return isHakuError(error, 'host.unreachable') && UNSENT_RE.test(systemErrorCode(error.cause) ?? '')
}

// --- internal ---

const LOST_RE = /^(?:ECONN|EPIPE|ETIMEDOUT|EHOST|ENET)/
const UNSENT_RE = /^(?:ECONNREFUSED|ENOTFOUND|EAI_|EHOST|ENET)/
