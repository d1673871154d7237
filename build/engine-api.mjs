// The few calls to a Docker Engine that setting up needs: before a build there is no core/engine to import.
import { request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/**
 * One request to the Engine behind a Unix socket. Resolves with status and text whatever the status is.
 * `body`: a Readable (sent as a tar archive) or a value (sent as JSON). `timeoutMs`: how long the socket may be silent.
 */
export async function callEngine(socketPath, method, path, { body, timeoutMs = 60_000 } = {}) {
  const isStream = typeof body?.pipe === 'function'
  const headers = body === undefined ? {} : { 'content-type': isStream ? 'application/x-tar' : 'application/json' }
  const outgoing = request({ socketPath, method, path, headers, timeout: timeoutMs })
  const answer = new Promise((resolve, reject) => {
    outgoing.once('response', resolve)
    outgoing.once('error', reject)
    outgoing.once('timeout', () => outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)))
  })
  const sent = pipeline(body === undefined ? Readable.from([]) : isStream ? body : Readable.from([JSON.stringify(body)]), outgoing)
  const [incoming] = await Promise.all([answer, sent])
  let text = ''
  incoming.setEncoding('utf8')
  for await (const chunk of incoming) text += chunk
  return { status: incoming.statusCode ?? 0, text }
}

/** Like {@link callEngine}, but a refusal is an error with the Engine's words. Resolves to the parsed answer, or its text. */
export async function askEngine(socketPath, method, path, options) {
  const { status, text } = await callEngine(socketPath, method, path, options)
  const value = parse(text)
  if (status >= 400) throw new Error(`the Engine at ${socketPath} answered ${status} to ${method} ${path}: ${value?.message ?? text}`)
  return value
}

/** Why no Engine answers at `socketPath`; `undefined` if one does. */
export async function whyNoAnswer(socketPath) {
  try {
    const { status, text } = await callEngine(socketPath, 'GET', '/_ping', { timeoutMs: 5000 })
    return status === 200 && text.trim() === 'OK' ? undefined : `it answered ${status} to a ping`
  } catch (error) {
    return error.message
  }
}

/** Whether the Engine has an image. */
export async function hasImage(socketPath, reference) {
  const { status } = await callEngine(socketPath, 'GET', `/images/${reference}/json`)
  return status === 200
}

/** Makes an image out of a root file system, given as a tar archive. */
export async function importImage(socketPath, archive, reference, changes = []) {
  const [repository, tag] = reference.split(':')
  const query = new URLSearchParams({ fromSrc: '-', repo: repository, tag: tag ?? 'latest' })
  for (const change of changes) query.append('changes', change)
  const text = await askEngine(socketPath, 'POST', `/images/create?${query}`, { body: archive, timeoutMs: 300_000 })
  // The Engine answers 200 before it reads the archive: a failure stands in the stream.
  const failure = JSON.stringify(text).match(/"error\\?":\\?"(?<words>[^"\\]*)/)?.groups?.words
  if (failure) throw new Error(`the Engine at ${socketPath} could not import ${reference}: ${failure}`)
}

// --- internal ---

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
