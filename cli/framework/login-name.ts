import { userInfo } from 'node:os'

/** Who uses the command line, for people to read; empty for a user without a name. */
export function loginName(): string {
  try {
    return userInfo().username.slice(0, 128)
  } catch {
    // A container's user may stand in no file: events then show no name, and nothing else depends on it.
    return ''
  }
}
