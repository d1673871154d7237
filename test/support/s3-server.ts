import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findProgram, mustRun, run } from '../../build/programs.mjs'
import { freePort } from '#simulator/free-port.ts'

/** A real S3 server, on this machine only. */
export interface S3Server {
  /** `http://127.0.0.1:port` */
  endpoint: string
  credentials: { accessKeyId: string; secretAccessKey: string }
  /** From now on each bucket takes no more than so many bytes. Takes effect at once for buckets that were not written to before. */
  limitBuckets(bytes: number): Promise<void>
  /** Ends what was started and removes its files. */
  close(): Promise<void>
}

/**
 * Why there can be no S3 server here; `undefined` if there can. Installs Ceph from the packages of Debian or Ubuntu if it is missing. The
 * reason is printed: tests that are skipped say so.
 */
export async function whyNoS3Server(): Promise<string | undefined> {
  const reason = await installIfMissing()
  if (reason) console.error(`[hakuriver] [test] tests that need an S3 server are skipped: ${reason}`)
  return reason
}

/** Starts a whole Ceph with one monitor, one disk in memory and the S3 gateway, in some seconds. Data is gone with it. */
export async function startS3Server(): Promise<S3Server> {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-s3-'))
  const daemons: Daemon[] = []
  const close = async () => {
    for (const daemon of daemons.toReversed()) await stop(daemon)
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    return { ...(await startCeph(directory, daemons)), close }
  } catch (error) {
    await close()
    throw error
  }
}

// --- internal ---

interface Daemon {
  name: string
  child: ChildProcess
  log: string
  ended: Promise<unknown>
}

const PACKAGES = ['radosgw', 'ceph-mon', 'ceph-osd']
const PROGRAMS = ['radosgw', 'radosgw-admin', 'ceph-mon', 'ceph-osd', 'ceph', 'ceph-authtool', 'monmaptool', 'setpriv']
/** Daemons whose test process is killed end too. */
const DIE_WITH_US = ['--pdeathsig', 'KILL']
const START_DEADLINE_MS = 60_000
const MEMORY_BYTES = 2 * 1024 ** 3

async function installIfMissing(): Promise<string | undefined> {
  const missing = () => PROGRAMS.filter((program) => !findProgram(program))
  if (missing().length === 0) return undefined
  if (process.platform !== 'linux' || !findProgram('apt-get')) return `${missing().join(', ')} are missing, and they can be installed by themselves on Debian and Ubuntu only`
  if (process.getuid?.() !== 0) return `${missing().join(', ')} are missing, and only root can install them: apt-get install ${PACKAGES.join(' ')}`
  console.error(`[hakuriver] [test] installing an S3 server: ${PACKAGES.join(' ')}`)
  // Two test files may come here at once.
  const script = `apt-get -q update && apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=180 install ${PACKAGES.join(' ')}`
  const { code, output } = await run('flock', [join(tmpdir(), 'hakuriver-s3-install.lock'), 'sh', '-c', script], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
  return missing().length === 0 ? undefined : `apt-get ended with ${code}: ${output.trimEnd().split('\n').slice(-5).join('\n')}`
}

async function startCeph(directory: string, daemons: Daemon[]): Promise<Omit<S3Server, 'close'>> {
  const [monitorPort, gatewayPort] = [await freePort(), await freePort()]
  const fsid = randomUUID()
  const config = join(directory, 'ceph.conf')
  const keyring = join(directory, 'keyring')
  writeFileSync(config, cephConfig(directory, { fsid, monitorPort, gatewayPort, keyring }))
  for (const name of ['mon', 'osd', 'rgw']) mkdirSync(join(directory, name))
  // Its commands wait for ever for a cluster that does not come up.
  const call = (program: string, ...parameters: string[]) => mustRun('setpriv', [...DIE_WITH_US, program, ...parameters], { timeout: START_DEADLINE_MS })
  const start = (name: string, program: string, ...parameters: string[]) => {
    const daemon = startDaemon({ name, log: join(directory, `${name}.out`), argv: [program, ...parameters, '-c', config, '-f'] })
    daemons.push(daemon)
    return daemon
  }

  await call('ceph-authtool', '-C', keyring, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *')
  await call('ceph-authtool', keyring, '--gen-key', '-n', 'client.admin', '--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *')
  const map = join(directory, 'monmap')
  await call('monmaptool', '--create', '--fsid', fsid, '--addv', 'a', `[v1:127.0.0.1:${monitorPort}]`, map)
  await call('ceph-mon', '-c', config, '--mkfs', '-i', 'a', '--monmap', map, '--keyring', keyring)
  start('mon', 'ceph-mon', '-i', 'a')
  const diskId = randomUUID()
  // A monitor that has just come up refuses commands that it takes a moment later.
  await untilTaken(() => call('ceph', '-c', config, 'osd', 'new', diskId))
  await call('ceph', '-c', config, 'osd', 'crush', 'add', 'osd.0', '1.0', 'host=localhost', 'root=default')
  await call('ceph-osd', '-c', config, '-i', '0', '--mkfs', '--osd-uuid', diskId)
  start('osd', 'ceph-osd', '-i', '0')
  const gateway = start('rgw', 'radosgw', '-n', 'client.rgw.a')
  const credentials = { accessKeyId: 'HAKURIVERTESTKEY0000', secretAccessKey: randomUUID() }
  const admin = (...parameters: string[]) => call('radosgw-admin', '-c', config, ...parameters)
  await admin('user', 'create', '--uid=test', '--display-name=test', '--access-key', credentials.accessKeyId, '--secret', credentials.secretAccessKey)
  await untilListening(gatewayPort, gateway)
  return {
    endpoint: `http://127.0.0.1:${gatewayPort}`,
    credentials,
    async limitBuckets(bytes) {
      await admin('quota', 'set', '--quota-scope=bucket', '--uid=test', `--max-size=${bytes}`)
      await admin('quota', 'enable', '--quota-scope=bucket', '--uid=test')
    },
  }
}

async function untilTaken(command: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS
  for (;;) {
    try {
      await command()
      return
    } catch (error) {
      if (Date.now() > deadline) throw error
    }
    await delay(250)
  }
}

function cephConfig(directory: string, { fsid, monitorPort, gatewayPort, keyring }: { fsid: string; monitorPort: number; gatewayPort: number; keyring: string }): string {
  return `[global]
fsid = ${fsid}
mon host = [v1:127.0.0.1:${monitorPort}]
mon initial members = a
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
keyring = ${keyring}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
# It would ask the monitor for what we do ourselves, now and then too early ("wrong fsid"), and then end.
osd crush update on start = false
osd class update on start = false
mon data avail crit = 1
run dir = ${directory}
admin socket = ${directory}/$name.asok
log file = ${directory}/$name.log
mon data = ${directory}/mon
osd data = ${directory}/osd
osd objectstore = memstore
memstore device bytes = ${MEMORY_BYTES}
osd memory target = 939524096
[client.rgw.a]
rgw data = ${directory}/rgw
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort}
rgw thread pool size = 32
rgw dns name = 127.0.0.1
`
}

function startDaemon({ name, log, argv }: { name: string; log: string; argv: string[] }): Daemon {
  const output = openSync(log, 'a')
  const child = spawn('setpriv', [...DIE_WITH_US, ...argv], { stdio: ['ignore', output, output] })
  closeSync(output)
  return { name, child, log, ended: once(child, 'exit') }
}

/** A monitor or disk has nothing to save: all goes with the directory. */
async function stop({ child, ended }: Daemon): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await ended
}

async function untilListening(port: number, daemon: Daemon): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS
  while (!(await accepts(port))) {
    const hasEnded = daemon.child.exitCode !== null
    if (hasEnded || Date.now() > deadline) throw new Error(`the S3 server does not ${hasEnded ? 'start' : 'answer'}: ${readFileSync(daemon.log, 'utf8').slice(-2000)}`)
    await delay(50)
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
