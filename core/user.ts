/** Who calls, for people: no credential, but what events and lists show. Travels percent-encoded, since a header may not hold every name. */
export const USER_HEADER = 'hakuriver-user'

const MAX_LENGTH = 128

/** The value of {@link USER_HEADER} for this name. */
export function encodeUser(name: string): string {
  return encodeURIComponent([...name].slice(0, MAX_LENGTH).join(''))
}

/** The name of a {@link USER_HEADER}; empty without one, or for one that is none. */
export function decodeUser(header: string | string[] | undefined): string {
  try {
    return typeof header === 'string' ? decodeURIComponent(header).trim().slice(0, MAX_LENGTH) : ''
  } catch {
    // Not percent-encoded as ours is. It is for people only, so nobody is refused for it.
    return ''
  }
}
