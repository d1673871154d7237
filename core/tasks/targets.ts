import { HakuError } from '../errors.ts'
import { isNodeName, quote } from '../names.ts'

/** Where a task must run. */
export interface Target {
  node: string
  numaNode?: number
  gpus?: number[]
}

const TARGET_RE = /^(?<node>[^:]+)(?::(?<numa>\d+))?(?:::(?<gpus>\d+(?:,\d+)*))?$/

/**
 * Reads the original's target grammar `HOST[:NUMA][::GPU,GPU]`.
 *
 * @throws `target.invalid`
 */
export function parseTarget(text: string): Target {
  const groups = TARGET_RE.exec(text)?.groups
  if (!groups?.['node'] || !isNodeName(groups['node'])) {
    throw new HakuError('target.invalid', `${quote(text)} is not a target. Write HOST, HOST:NUMA, HOST::GPU,GPU or HOST:NUMA::GPU,GPU, such as node1, node1:0 or node1::0,1.`)
  }
  const gpus = groups['gpus']?.split(',').map(Number)
  if (gpus && new Set(gpus).size < gpus.length) throw new HakuError('target.invalid', `${quote(text)} names a GPU twice. Name each once.`)
  return { node: groups['node'], ...(groups['numa'] !== undefined && { numaNode: Number(groups['numa']) }), ...(gpus && { gpus }) }
}
