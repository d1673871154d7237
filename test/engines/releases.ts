import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, run } from '../../build/programs.mjs'

/** `installed`: the machine's own; the others are those of a Debian suite, unpacked. */
export type Release = 'installed' | '26' | '28' | '28-containerd'

export interface ReleaseBinaries {
  dockerd: string
  /** PATH with which it finds its own containerd. */
  path: string
  /** Its daemon.json. */
  config: { features?: Record<string, boolean> }
}

const SUITES: Record<Exclude<Release, 'installed'>, string> = { 26: 'trixie', 28: 'sid', '28-containerd': 'sid' }

/** @throws an error that says why this release can not be had here */
export async function provideRelease(release: Release): Promise<ReleaseBinaries> {
  const path = process.env['PATH'] ?? ''
  if (release === 'installed') return { dockerd: findProgram('dockerd') ?? 'dockerd', path, config: {} }
  const root = await provideSuite(SUITES[release])
  return {
    dockerd: join(root, 'usr/sbin/dockerd'),
    path: `${root}/usr/bin:${root}/usr/sbin:${path}`,
    config: release === '28-containerd' ? { features: { 'containerd-snapshotter': true } } : {},
  }
}

// --- internal ---

/** docker.io and containerd of a Debian suite, unpacked below the temporary directory; made once. */
async function provideSuite(suite: string): Promise<string> {
  const root = join(tmpdir(), 'hakuriver-engines', suite)
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
    if (!existsSync(root)) renameSync(unpacked, root)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return root
}

/** With lists of their own, from the mirror of this machine: its own apt knows nothing of the suite afterwards. */
async function download(suite: string, work: string): Promise<void> {
  const { output } = await run('apt-get', ['indextargets', '--format', '$(SITE) $(CODENAME) $(SIGNED_BY)', 'Created-By: Packages'])
  const site = output.split('\n').find((line) => !line.includes('security'))?.split(' ')[0]
  if (!site) throw new Error('apt on this machine has no package source')
  const sources = join(work, 'sources.list')
  writeFileSync(sources, `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site} ${suite} main\n`)
  for (const directory of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(work, directory), { recursive: true })
  const options = [`Dir::Etc::sourcelist=${sources}`, 'Dir::Etc::sourceparts=-', `Dir::State::lists=${join(work, 'lists')}`, `Dir::Cache=${join(work, 'cache')}`, 'APT::Sandbox::User=root'].flatMap((option) => ['-o', option])
  await mustRun('apt-get', [...options, 'update'], work)
  await mustRun('apt-get', [...options, 'download', 'docker.io', 'containerd'], work)
}

async function mustRun(program: string, parameters: string[], cwd = '/'): Promise<void> {
  const { code, output } = await run(program, parameters, { cwd })
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${output.split('\n').slice(-8).join('\n')}`)
}
