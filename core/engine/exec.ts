import { z } from 'zod'
import { isHakuError } from '../errors.ts'
import { quote } from '../names.ts'
import { readAnswer } from './answers.ts'
import type { Engine, ExecSession, ExecSpec } from './engine.ts'
import { segment, type Transport } from './transport.ts'

const idAnswer = z.object({ Id: z.string() })
const inspectAnswer = z.object({ Running: z.boolean(), ExitCode: z.number().nullish(), Pid: z.number(), ContainerID: z.string() })

export function execCalls(transport: Transport): Pick<Engine, 'exec' | 'createExec' | 'startExec' | 'inspectExec'> {
  return {
    async exec(id, spec) {
      const what = describe(id, spec)
      const size = spec.columns !== undefined && spec.rows !== undefined ? { ConsoleSize: [spec.rows, spec.columns] } : {}
      const path = `/exec/${segment(await create(transport, id, spec, what, { AttachStdin: true, Tty: spec.tty }))}`
      const stream = await transport.hijack({ method: 'POST', path: `${path}/start`, what, body: { Detach: false, Tty: spec.tty, ...size } })
      const session = createSession(transport, path, what, stream)
      await setFirstSize(session, spec)
      return session
    },

    createExec: (id, spec) => create(transport, id, spec, describe(id, spec), { AttachStdin: false, Tty: false }),

    startExec: (execId) => transport.hijack({ method: 'POST', path: `/exec/${segment(execId)}/start`, what: `start the process ${quote(execId)}`, body: { Detach: false, Tty: false } }),

    async inspectExec(execId) {
      const what = `inspect the process ${quote(execId)}`
      try {
        const { Running, ExitCode, Pid, ContainerID } = readAnswer(inspectAnswer, await transport.call({ method: 'GET', path: `/exec/${segment(execId)}/json`, what }), what)
        // Before its start, and in the moment of its end, the Engine has no exit code.
        const status = Running ? 'running' : ExitCode === null || ExitCode === undefined ? (Pid === 0 ? 'created' : 'running') : 'ended'
        return { status, exitCode: status === 'ended' ? (ExitCode ?? undefined) : undefined, pid: Pid, containerId: ContainerID }
      } catch (error) {
        if (isHakuError(error, 'engine.not_found', 'container.not_found')) return undefined
        throw error
      }
    },
  }
}

// --- internal ---

function describe(id: string, { command }: Pick<ExecSpec, 'command'>): string {
  return `run ${quote(command[0] ?? '')} in the container ${quote(id)}`
}

async function create(transport: Transport, id: string, spec: Pick<ExecSpec, 'command' | 'env' | 'workdir' | 'user'>, what: string, streams: Record<string, boolean>): Promise<string> {
  const created = await transport.call({
    method: 'POST', path: `/containers/${segment(id)}/exec`, what,
    body: {
      ...streams, AttachStdout: true, AttachStderr: true, Cmd: spec.command, Env: Object.entries(spec.env ?? {}).map(([key, value]) => `${key}=${value}`),
      ...(spec.workdir !== undefined && { WorkingDir: spec.workdir }), ...(spec.user !== undefined && { User: spec.user }),
    },
  })
  return readAnswer(idAnswer, created, what).Id
}

function createSession(transport: Transport, path: string, what: string, stream: ExecSession['stream']): ExecSession {
  const session: ExecSession = {
    stream,
    async resize(columns, rows) {
      try {
        await transport.call({ method: 'POST', path: `${path}/resize`, what: `resize the terminal of: ${what}`, query: { h: rows, w: columns } })
      } catch (error) {
        // A window may change in the moment in which the process ends: then there is nothing left to resize.
        if (isHakuError(error, 'engine.unavailable') || (await session.exitCode()) === undefined) throw error
      }
    },
    async exitCode() {
      const { Running, ExitCode } = readAnswer(inspectAnswer, await transport.call({ method: 'GET', path: `${path}/json`, what }), what)
      return Running ? undefined : (ExitCode ?? undefined)
    },
  }
  return session
}

/** Engines before 23 do not know ConsoleSize. */
async function setFirstSize(session: ExecSession, { tty, columns, rows }: ExecSpec): Promise<void> {
  if (!tty || columns === undefined || rows === undefined) return
  try {
    await session.resize(columns, rows)
  } catch (error) {
    // Nobody else has the stream yet, so nobody else could close it.
    session.stream.destroy()
    throw error
  }
}
