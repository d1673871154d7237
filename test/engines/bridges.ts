import { execFileSync } from 'node:child_process'
import { systemErrorCode } from '#core/errors.ts'

/** A network bridge of one test Engine, with what lets its containers out. */
export interface Bridge {
  name: string
  subnet: string
}

/** A bridge in a subnet that nobody uses. Without one of its own an Engine would take, or delete, that of another. */
export function createBridge(): Bridge {
  const used = ip('-4', 'addr', 'show') + ip('-4', 'route', 'show')
  for (let offset = 0; offset < OCTETS; offset++) {
    const octet = 20 + ((offset + process.pid) % OCTETS)
    const bridge = { name: `hre${octet}`, subnet: `172.31.${octet}.0/24` }
    // A link's name can be taken once only, whoever else looks for one at this moment.
    if (!used.includes(`172.31.${octet}.`) && tryTo('ip', 'link', 'add', bridge.name, 'type', 'bridge')) return configure(bridge, `172.31.${octet}.1/24`)
  }
  throw new Error('there is no free bridge for a test Engine')
}

/** Idempotent. */
export function removeBridge(bridge: Bridge): void {
  for (const rule of rules(bridge)) while (tryTo('iptables', '-w', '-t', rule.table, '-D', rule.chain, ...rule.match)) continue
  tryTo('ip', 'link', 'delete', bridge.name)
}

// --- internal ---

const OCTETS = 230

interface Rule {
  table: string
  chain: string
  match: string[]
}

function configure(bridge: Bridge, address: string): Bridge {
  try {
    ip('addr', 'add', address, 'dev', bridge.name)
    ip('link', 'set', bridge.name, 'up')
    for (const { table, chain, match } of rules(bridge)) execute('iptables', '-w', '-t', table, '-I', chain, ...match)
    return bridge
  } catch (error) {
    removeBridge(bridge)
    throw error
  }
}

/** What dockerd itself would set up, in three rules that name this bridge alone. */
function rules({ name, subnet }: Bridge): Rule[] {
  return [
    { table: 'nat', chain: 'POSTROUTING', match: ['-s', subnet, '!', '-o', name, '-j', 'MASQUERADE'] },
    { table: 'filter', chain: 'FORWARD', match: ['-i', name, '-j', 'ACCEPT'] },
    { table: 'filter', chain: 'FORWARD', match: ['-o', name, '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED', '-j', 'ACCEPT'] },
  ]
}

function ip(...parameters: string[]): string {
  return execute('ip', ...parameters)
}

/** Synchronous, because the clean-up at the end of a process has to be. */
function execute(program: string, ...parameters: string[]): string {
  return execFileSync(program, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Whether it worked. A program that is missing is an error all the same. */
function tryTo(program: string, ...parameters: string[]): boolean {
  try {
    execute(program, ...parameters)
    return true
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') throw error
    return false
  }
}
