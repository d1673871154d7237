import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errorMessage } from '#core/errors.ts'
import { readMirror } from '../../build/images.mjs'
import { findProgram, mustRun } from '../../build/programs.mjs'

/** `installed`: the machine's own; the others are those of a Debian suite, unpacked. */
export const releases = ['installed', '26', '28', '28-containerd'] as const
export type Release = (typeof releases)[number]

export interface ReleaseBinaries {
  dockerd: string
  /** PATH with which it finds its own containerd. */
  path: string
  /** Its daemon.json. */
  config: { features?: Record<string, boolean> }
}

const SUITES: Record<string, string> = { 26: 'trixie', 28: 'sid' }

/** @throws an error that says why this release can not be had here */
export async function provideRelease(release: Release): Promise<ReleaseBinaries> {
  const path = process.env['PATH'] ?? ''
  if (release === 'installed') return { dockerd: findProgram('dockerd') ?? 'dockerd', path, config: {} }
  const [major = ''] = release.split('-')
  const root = await provideSuite(SUITES[major] ?? '', major)
  return {
    dockerd: join(root, 'usr/sbin/dockerd'),
    path: `${root}/usr/bin:${root}/usr/sbin:${path}`,
    config: release === '28-containerd' ? { features: { 'containerd-snapshotter': true } } : {},
  }
}

/** The releases that can not be had here, and why. Downloads those that are not here yet. */
export async function findMissingReleases(): Promise<Map<Release, string>> {
  const missing = new Map<Release, string>()
  for (const release of releases) await provideRelease(release).catch((error: unknown) => missing.set(release, errorMessage(error)))
  return missing
}

// --- internal ---

const running = new Map<string, Promise<string>>()

/** docker.io and containerd of a Debian suite, unpacked below the temporary directory; made once. */
function provideSuite(suite: string, major: string): Promise<string> {
  const found = running.get(suite) ?? unpackSuite(suite, major)
  running.set(suite, found)
  return found
}

async function unpackSuite(suite: string, major: string): Promise<string> {
  const root = join(tmpdir(), 'hakuriver-engines', `${suite}-${major}`)
  if (existsSync(root)) return root
  mkdirSync(join(root, '..'), { recursive: true })
  const work = mkdtempSync(`${root}-`)
  try {
    await download(suite, work)
    const unpacked = join(work, 'root')
    for (const file of readdirSync(work).filter((name) => name.endsWith('.deb'))) await mustRun('dpkg-deb', ['-x', join(work, file), unpacked])
    // A runc of a newer suite needs a newer libc; the machine's own serves all.
    rmSync(join(unpacked, 'usr/sbin/runc'), { force: true })
    rmSync(join(unpacked, 'usr/bin/runc'), { force: true })
    await assertMajor(unpacked, suite, major)
    publish(unpacked, root)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return root
}

/** A suite moves on: a test of one release must not run on the next in silence. */
async function assertMajor(unpacked: string, suite: string, major: string): Promise<void> {
  const output = await mustRun(join(unpacked, 'usr/sbin/dockerd'), ['--version'])
  if (!output.includes(`version ${major}.`)) throw new Error(`Debian ${suite} has by now: ${output.trim()}`)
}

/** Another test process may have been quicker: what it has made is the same. */
function publish(unpacked: string, root: string): void {
  try {
    renameSync(unpacked, root)
  } catch (error) {
    if (!existsSync(root)) throw error
  }
}

/** With lists of their own, from the mirror of this machine: its own apt knows nothing of the suite afterwards. */
async function download(suite: string, work: string): Promise<void> {
  const { uri, distribution, keyring } = await readMirror()
  if (distribution !== 'debian') throw new Error(`Engines of other releases come from a mirror of Debian, and this machine has ${distribution}`)
  const sources = join(work, 'sources.list')
  writeFileSync(sources, `deb [signed-by=${keyring}] ${uri} ${suite} main\n`)
  for (const directory of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(work, directory), { recursive: true })
  const settings = [`Dir::Etc::sourcelist=${sources}`, 'Dir::Etc::sourceparts=-', `Dir::State::lists=${join(work, 'lists')}`, `Dir::Cache=${join(work, 'cache')}`, 'APT::Sandbox::User=root', 'Acquire::Languages=none', 'Acquire::Retries=3']
  const options = settings.flatMap((setting) => ['-o', setting])
  await mustRun('apt-get', [...options, 'update'], { cwd: work })
  await mustRun('apt-get', [...options, 'download', 'docker.io', 'containerd'], { cwd: work })
}
