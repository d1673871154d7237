import type { IncomingMessage } from 'node:http'

/** The `data` of each server-sent event of a stream, parsed. Comments (keep-alive) are passed over. */
export async function* readEvents<T>(stream: IncomingMessage): AsyncGenerator<T> {
  stream.setEncoding('utf8')
  let pending = ''
  for await (const chunk of stream as AsyncIterable<string>) {
    pending += chunk
    const events = pending.split('\n\n')
    pending = events.pop() ?? ''
    for (const event of events) {
      const data = event.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n')
      if (data) yield JSON.parse(data) as T
    }
  }
}
