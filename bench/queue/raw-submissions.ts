import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp, createRouter, defineEventHandler, readBody, setResponseStatus, toNodeListener } from 'h3'
import Database from 'libsql'

// The yardstick for submissions: h3 as it is, and one row for each request, as durable as a task of the Host. Prints its port.

const [file = ''] = process.argv.slice(2)
const database = new Database(file)
database.pragma('journal_mode = WAL')
database.pragma('synchronous = FULL')
database.exec('CREATE TABLE tasks (number INTEGER PRIMARY KEY, submitted TEXT NOT NULL, body TEXT NOT NULL)')
const insert = database.prepare('INSERT INTO tasks (submitted, body) VALUES (?, ?)')

const router = createRouter().post('/api/tasks', defineEventHandler(async (event) => {
  const body: unknown = await readBody(event)
  const submitted = new Date().toISOString()
  const { lastInsertRowid: number } = insert.run(submitted, JSON.stringify(body))
  setResponseStatus(event, 201)
  return { tasks: [{ id: String(number), submitted, state: 'queued', body }] }
}))

const server = createServer(toNodeListener(createApp().use(router)))
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
process.on('SIGTERM', () => process.exit())
