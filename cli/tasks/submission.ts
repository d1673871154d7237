import type { Dependency, SignalName, SubmitInput } from '#core/api/schemas.ts'
import { signalName, submitBody } from '#core/api/schemas/submission.ts'
import { parseEnvironmentReference, quote } from '#core/names.ts'
import { parseMount } from '#core/tasks/mounts.ts'
import { parseSize } from '#core/tasks/sizes.ts'
import { parseTarget } from '#core/tasks/targets.ts'
import type { CommandContext } from '../framework/command.ts'
import { loginName } from '../framework/login-name.ts'
import { assertFields, readOption } from '../framework/options.ts'
import { usage } from '../framework/parse.ts'
import { durationWithin } from '../values/durations.ts'
import { wholeNumber } from '../values/numbers.ts'
import { parseFutureTime } from '../values/times.ts'
import { parseOwnVariables, readVariableFiles } from '../values/variables.ts'
import { splitWords } from '../values/words.ts'
import { parseItems } from './items.ts'
import { submissionKey } from './submit.ts'
import type { SubmitArgs } from './submit-args.ts'

export interface Submission {
  body: SubmitInput & { key: string }
  /** argv of a program to run here for each task that has ended. */
  notifyCommand: string[] | undefined
}

/**
 * What the command line says. Everything that can be told to be wrong without the Host is told before it is asked.
 *
 * @throws `usage.invalid` and the errors of names, sizes, targets and mounts, each with the option's name
 */
export async function createSubmission({ args, rest }: CommandContext<SubmitArgs>): Promise<Submission> {
  assertTogether(args)
  const { items, parallel } = await parseItems(args)
  const notify = parseNotify(args)
  args.target.forEach((target) => readOption('--target', target, parseTarget))
  args.mount.forEach((mount) => readOption('--mount', mount, parseMount))
  const body = {
    command: rest,
    ...(args.container === 'NULL' ? { environment: null } : readEnvironment(args.container)),
    key: submissionKey(args.key),
    name: args.name,
    submitter: loginName(),
    targets: args.target,
    items,
    parallel,
    pack: args.pack,
    cores: readOption('--cores', args.cores, wholeNumber({ min: 0, max: 4096 })),
    memoryBytes: readOption('--memory', args.memory, parseSize),
    gpus: readOption('--gpus', args.gpus, wholeNumber({ min: 0, max: 64 })),
    gpuMemoryBytes: readOption('--gpu-memory', args['gpu-memory'], parseSize),
    env: { ...readVariableFiles('--env-file', args['env-file']), ...parseOwnVariables('--env', args.env) },
    mounts: args.mount,
    user: args.user,
    workdir: args.workdir,
    network: args.network,
    privileged: args.privileged,
    priority: readOption('--priority', args.priority, wholeNumber({ min: -1000, max: 1000 })),
    hold: args.hold,
    at: readOption('--at', args.at, parseFutureTime),
    after: args.after.map(parseDependency),
    retries: readOption('--retry', args.retry, wholeNumber({ min: 0, max: 1000 })),
    timeLimitSeconds: readOption('--time-limit', args['time-limit'], durationWithin({ min: 0.001, max: 366 * 86_400 })),
    signal: readOption('--signal', args.signal, parseSignal),
    graceSeconds: readOption('--grace', args.grace, durationWithin({ min: 0, max: 3600 })),
    notifyUrl: notify.url,
  }
  assertFields(submitBody, body, fieldOptions)
  return { body, notifyCommand: notify.command }
}

// --- internal ---

/** Whose option a field is, for what only the contract knows to be wrong. */
const fieldOptions: Record<string, string> = {
  command: 'COMMAND', key: '--key', name: '--name', targets: '--target', items: '--array, --each-line or --sweep', memoryBytes: '--memory', gpuMemoryBytes: '--gpu-memory', env: '--env',
  mounts: '--mount', user: '--user', workdir: '--workdir', network: '--network', after: '--after', timeLimitSeconds: '--time-limit', graceSeconds: '--grace', notifyUrl: '--notify',
}

type Args = CommandContext<SubmitArgs>['args']

/** What says nothing without something else is a mistake. */
function assertTogether(args: Args): void {
  const hasItems = args.array !== undefined || args['each-line'] !== undefined || args.sweep.length > 0
  if (args['gpu-memory'] !== undefined && args.gpus === undefined) throw usage('--gpu-memory says nothing without --gpus.')
  if (args.pack && !hasItems) throw usage('--pack is for the items of --array, --each-line or --sweep.')
  if (args.parallel !== undefined && !hasItems && args.target.length < 2) throw usage('--parallel is for several tasks: those of --array, --each-line, --sweep or several --target.')
  if (args['dry-run'] && (args.wait || args.follow)) throw usage(`There is nothing to ${args.wait ? '--wait for' : '--follow'} with --dry-run.`)
}

function readEnvironment(text: string): { environment: string; version: number | undefined } {
  const { name, version } = readOption('--container', text, parseEnvironmentReference) ?? { name: text }
  return { environment: name, version }
}

function parseDependency(text: string): Dependency {
  const match = /^(?:(?<on>[^:]*):)?(?<task>[0-9a-z]{26}(?:\.\d{1,9})?)$/.exec(text)
  const { on = 'ok', task } = match?.groups ?? {}
  if (task === undefined || (on !== 'ok' && on !== 'any' && on !== 'fail')) throw usage(`--after ${quote(text)} is not ok:ID, any:ID or fail:ID with the id of a task.`)
  return { on, task }
}

function parseSignal(text: string): SignalName {
  const name = text.toUpperCase()
  const signal = signalName.options.find((known) => known === name || known === `SIG${name}`)
  if (!signal) throw usage(`${quote(text)} is none of ${signalName.options.map((known) => known.slice(3)).join(', ')}.`)
  return signal
}

function parseNotify({ notify, wait, follow }: Args): { url?: string; command?: string[] } {
  if (notify === undefined) return {}
  if (/^https?:\/\//i.test(notify)) return { url: notify }
  if (!wait && !follow) throw usage(`--notify ${quote(notify)} is a command, which runs here: that needs --wait. A URL begins with http:// or https://.`)
  const command = splitWords('--notify', notify)
  if (!command[0]) throw usage('--notify is empty.')
  return { command }
}
