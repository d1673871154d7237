import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { CommandUser } from '../linux/command.ts'

/** As whom a process runs. */
export interface ProcessUser {
  /** `null`: as the Runner. */
  ids: CommandUser
  home: string
}

/**
 * The user of an order, `UID[:GID]`; `null`: the Runner's own.
 *
 * A group that is left out is the one that the node's accounts give the user. One that has no account gets a group of its own
 * number, never the Runner's.
 */
export async function resolveUser(user: string | null): Promise<ProcessUser> {
  if (user === null) return { ids: ownIds(), home: (await findAccount(process.getuid?.() ?? 0))?.home ?? '/' }
  const [uid = 0, gid] = user.split(':').map(Number)
  const account = await findAccount(uid)
  return { ids: { uid, gid: gid ?? account?.gid ?? uid }, home: account?.home ?? '/' }
}

// --- internal ---

const PATIENCE_MS = 5000

/** Who is given ids loses the supplementary groups of the Runner. Only root may take them away. */
function ownIds(): CommandUser {
  return process.getuid?.() === 0 ? { uid: 0, gid: process.getgid?.() ?? 0 } : null
}

interface Account {
  gid: number
  home: string
}

/** Of this machine, or else of the lab's directory service. */
async function findAccount(uid: number): Promise<Account | undefined> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n')
  const line = lines.find((text) => text.split(':')[2] === String(uid)) ?? (await askDirectoryService(uid))
  const [, , , gid, , home] = line?.split(':') ?? []
  return gid === undefined ? undefined : { gid: Number(gid), home: home || '/' }
}

async function askDirectoryService(uid: number): Promise<string | undefined> {
  // It fails where there is no such program or no such user, which is the same for us.
  return promisify(execFile)('getent', ['passwd', String(uid)], { timeout: PATIENCE_MS }).then(({ stdout }) => stdout.trim(), () => undefined)
}
