import { z } from 'zod'
import { isHakuError } from '../errors.ts'
import { quote } from '../names.ts'
import { readAnswer } from './answers.ts'
import type { Engine, ExecSession, ExecSpec } from './engine.ts'
import { segment, type Transport } from './transport.ts'

const idAnswer = z.object({ Id: z.string() })
const inspectAnswer = z.object({ Running: z.boolean(), ExitCode: z.number().nullish() })

/** What of the {@link Engine} runs programs in containers. */
export function execCalls(transport: Transport): Pick<Engine, 'exec'> {
  return {
    async exec(id, spec) {
      const what = `run ${quote(spec.command[0] ?? '')} in the container ${quote(id)}`
      const size = spec.columns !== undefined && spec.rows !== undefined ? { ConsoleSize: [spec.rows, spec.columns] } : {}
      const created = await transport.call({
        method: 'POST', path: `/containers/${segment(id)}/exec`, what,
        body: { AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: spec.tty, Cmd: spec.command, Env: Object.entries(spec.env ?? {}).map(([key, value]) => `${key}=${value}`), ...(spec.user !== undefined && { User: spec.user }) },
      })
      const path = `/exec/${segment(readAnswer(idAnswer, created, what).Id)}`
      const stream = await transport.hijack({ method: 'POST', path: `${path}/start`, what, body: { Detach: false, Tty: spec.tty, ...size } })
      const session = createSession(transport, path, what, stream)
      await setFirstSize(session, spec)
      return session
    },
  }
}

// --- internal ---

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
