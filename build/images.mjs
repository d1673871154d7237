// Images without a registry: a static busybox, and a Debian or Ubuntu by debootstrap.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, mustRun, run } from './programs.mjs'

const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'

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
 * The path of a tar archive with a minimal system of this machine's own release (Debian or Ubuntu) in which `apt-get` works
 * as it does here. Made once (half a minute), then kept. Needs root and debootstrap.
 */
export async function provideDebianArchive({ log = console.error } = {}) {
  const { id, codename } = readRelease()
  const archive = join(tmpdir(), 'hakuriver-images', `${id}-${codename}.tar`)
  if (existsSync(archive)) return archive
  const { uri } = await readMirror()
  if (process.getuid?.() !== 0 || !findProgram('debootstrap')) throw new Error('Making a base image needs root and the program debootstrap: install the package debootstrap.')
  mkdirSync(join(archive, '..'), { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'hakuriver-debian-'))
  const partial = `${archive}.${process.pid}`
  try {
    log(`Making a small ${codename} with debootstrap (half a minute, once)`)
    await mustRun('debootstrap', ['--variant=minbase', codename, folder, uri])
    await configureApt(folder)
    await mustRun('tar', ['-C', folder, '--numeric-owner', '--one-file-system', '-cf', partial, '.'])
    renameSync(partial, archive)
  } finally {
    rmSync(folder, { recursive: true, force: true })
    rmSync(partial, { force: true })
  }
  return archive
}

/** Where this machine's apt gets its own release from, so that nothing else has to be reachable. @throws if that is nowhere */
export async function readMirror() {
  const { id, codename } = readRelease()
  const own = (await readSources()).find(({ suite }) => suite === codename)
  if (!own) throw new Error(`apt on this machine has no package source for its own release (${codename || 'unknown'}).`)
  return { uri: own.uri, distribution: id, keyring: `/usr/share/keyrings/${id}-archive-keyring.gpg` }
}

// --- internal ---

function readRelease() {
  const text = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  const value = (key) => text.match(new RegExp(`^${key}="?(?<value>[^"\\n]*)`, 'm'))?.groups?.value ?? ''
  return { id: value('ID'), codename: value('VERSION_CODENAME') }
}

/** The sources of the machine's own release, its updates included, as apt itself reads them from whatever files. */
async function readSources() {
  const { codename } = readRelease()
  const { output } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)', 'Created-By: Packages'])
  const lines = [...new Set(output.split('\n'))].map((line) => line.split(' '))
  const own = lines.filter(([uri, suite]) => /^https?:/.test(uri ?? '') && (suite === codename || suite?.startsWith(`${codename}-`)))
  return own.map(([uri, suite, component]) => ({ uri, suite, component }))
}

/** Inside, apt gets its packages from where this machine gets its own, by the same proxy. */
async function configureApt(folder) {
  const sources = await readSources()
  writeFileSync(join(folder, 'etc/apt/sources.list'), sources.map(({ uri, suite, component }) => `deb ${uri} ${suite} ${component}\n`).join(''))
  const { output } = await run('apt-config', ['dump', '--format', '%f "%v";%n', 'Acquire'])
  const settings = output.split('\n').filter((line) => /^Acquire::(?:https?::(?:[^:]+::)?Proxy|Check-(?:Valid-Until|Date))\b/i.test(line))
  writeFileSync(join(folder, 'etc/apt/apt.conf.d/99as-on-the-host'), [...settings, ...proxySettings(), 'Acquire::Retries "3";', ''].join('\n'))
  for (const name of readdirSync(join(folder, 'var/lib/apt/lists'))) rmSync(join(folder, 'var/lib/apt/lists', name), { recursive: true, force: true })
  rmSync(join(folder, 'var/cache/apt/archives'), { recursive: true, force: true })
  if (sources.some(({ uri }) => uri.startsWith('https:')) && existsSync(CERTIFICATES)) copyCertificates(folder)
}

function proxySettings() {
  return ['http', 'https'].flatMap((scheme) => {
    const proxy = process.env[`${scheme}_proxy`]
    return proxy ? [`Acquire::${scheme}::Proxy "${proxy}";`] : []
  })
}

/** A minimal system has none, and could not get its package of them over https. */
function copyCertificates(folder) {
  mkdirSync(join(folder, CERTIFICATES, '..'), { recursive: true })
  copyFileSync(CERTIFICATES, join(folder, CERTIFICATES))
}
