import { z } from 'zod'
import { quote } from '../names.ts'
import type { Engine, ExecSession } from './engine.ts'
import { segment, type Transport } from './transport.ts'

const idAnswer = z.object({ Id: z.string() })
const inspectAnswer = z.object({ Running: z.boolean(), ExitCode: z.number().nullable() })

export function execCalls(transport: Transport): Pick<Engine, 'exec'> {
  return {
    async exec(id, spec) {
      const what = `run ${quote(spec.command[0] ?? '')} in the container ${quote(id)}`
      const size = spec.columns !== undefined && spec.rows !== undefined ? { ConsoleSize: [spec.rows, spec.columns] } : {}
      const created = await transport.call({
        method: 'POST', path: `/containers/${segment(id)}/exec`, what,
        body: { AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: spec.tty, Cmd: spec.command, Env: Object.entries(spec.env ?? {}).map(([key, value]) => `${key}=${value}`) },
      })
      const path = `/exec/${segment(idAnswer.parse(created).Id)}`
      const stream = await transport.hijack({ method: 'POST', path: `${path}/start`, what, body: { Detach: false, Tty: spec.tty, ...size } })
      const session = createSession(transport, path, what, stream)
      // Engines before 23 do not know ConsoleSize.
      if (spec.tty && spec.columns !== undefined && spec.rows !== undefined) await session.resize(spec.columns, spec.rows)
      return session
    },
  }
}

// --- internal ---

function createSession(transport: Transport, path: string, what: string, stream: ExecSession['stream']): ExecSession {
  return {
    stream,
    async resize(columns, rows) {
      await transport.call({ method: 'POST', path: `${path}/resize`, what: `resize the terminal of: ${what}`, query: { h: rows, w: columns } })
    },
    async exitCode() {
      const { Running, ExitCode } = inspectAnswer.parse(await transport.call({ method: 'GET', path: `${path}/json`, what }))
      return Running ? undefined : (ExitCode ?? undefined)
    },
  }
}
