// Images without a registry: a static busybox, and a Debian by debootstrap.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './programs.mjs'

/** A folder with the root file system of a busybox image, all applets linked, but no `which`. Remove it after use. */
export async function createImageFolder(busybox) {
  const folder = mkdtempSync(join(tmpdir(), 'hakuriver-busybox-'))
  for (const directory of ['bin', 'etc', 'root', 'tmp', 'usr']) mkdirSync(join(folder, directory))
  copyFileSync(busybox, join(folder, 'bin/busybox'))
  const { output } = await run(busybox, ['--list'])
  for (const applet of output.split('\n').filter((name) => name && name !== 'busybox' && name !== 'which')) symlinkSync('busybox', join(folder, 'bin', applet))
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\n')
  return folder
}

/**
 * The path of a tar archive with a small Debian in which `apt-get` works, from the package sources of this machine. Made
 * once (half a minute), then kept. Needs root and debootstrap.
 */
export async function provideDebianArchive({ log = console.error } = {}) {
  const archive = join(tmpdir(), 'hakuriver-images', 'debian-bookworm.tar')
  if (existsSync(archive)) return archive
  mkdirSync(join(archive, '..'), { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'hakuriver-debian-'))
  const partial = `${archive}.${process.pid}`
  try {
    log('Making a small Debian with debootstrap (half a minute, once)')
    await mustRun('debootstrap', ['--variant=minbase', 'bookworm', folder, ...(await packageSource())])
    rmSync(join(folder, 'var/cache/apt/archives'), { recursive: true, force: true })
    await mustRun('tar', ['-C', folder, '-cf', partial, '.'])
    renameSync(partial, archive)
  } finally {
    rmSync(folder, { recursive: true, force: true })
    rmSync(partial, { force: true })
  }
  return archive
}

// --- internal ---

/** The mirror this machine itself uses, so that nothing else has to be reachable. */
async function packageSource() {
  const { output } = await run('apt-get', ['indextargets', '--format', '$(SITE) $(CODENAME)', 'Created-By: Packages'])
  const site = output.split('\n').map((line) => line.split(' ')).find(([, codename]) => codename === 'bookworm')?.[0]
  return site ? [site] : []
}

async function mustRun(program, parameters) {
  const { code, output } = await run(program, parameters)
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${output.trimEnd().split('\n').slice(-10).join('\n')}`)
}
