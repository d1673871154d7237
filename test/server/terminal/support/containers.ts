import type { Engine } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'

/** A running container as the Host makes them. */
export async function startContainer(engine: Engine, image: string): Promise<{ name: string; id: string }> {
  const name = `hk-shell-${createId()}`
  const id = await engine.createContainer({ name, image, command: ['/bin/sleep', 'infinity'], env: {}, labels: { [labels.container]: name }, mounts: [], logs: 'none' })
  await engine.startContainer(id)
  return { name, id }
}

/** The command lines of all that runs in the container, but for what looks. */
export async function processesIn(engine: Engine, id: string): Promise<string[]> {
  const { stream } = await engine.exec(id, { command: ['/bin/sh', '-c', 'for p in /proc/[0-9]*; do [ "${p#/proc/}" = $$ ] || tr "\\0" " " < $p/cmdline 2>/dev/null && echo; done'], tty: true })
  let output = ''
  for await (const piece of stream as AsyncIterable<Buffer>) output += piece.toString()
  return output.split('\r\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('tr '))
}
