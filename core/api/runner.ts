import { z } from 'zod'
import { outputChannels } from '../tasks/channels.ts'
import { defineEndpoints } from './endpoint.ts'
import * as schemas from './schemas.ts'

const id = z.strictObject({ id: schemas.taskId })
const versionOfEnvironment = z.strictObject({ environment: schemas.environmentName, version: z.coerce.number().int().nonnegative() })

/** Everything a Runner answers, to its Host alone. */
export const runnerApi = defineEndpoints({
  getHealth: { method: 'GET', path: '/api/health', summary: 'Whether the Runner works', role: 'public', response: { status: 200, body: schemas.health }, errors: [] },
  putTask: { method: 'PUT', path: '/api/tasks/{id}', summary: 'Execute this task. The same instance twice starts one container; a higher one ends what ran before', role: 'host', params: id, body: schemas.taskOrder, maxBodyBytes: 16 * 1024 * 1024, response: { status: 202, body: schemas.taskReport }, errors: ['task.superseded', 'task.not_allowed'] },
  killTask: { method: 'POST', path: '/api/tasks/{id}/kill', body: schemas.executionBody, summary: 'End the task', role: 'host', params: id, response: { status: 202, body: schemas.taskReport }, errors: ['task.not_found'] },
  pauseTask: { method: 'POST', path: '/api/tasks/{id}/pause', body: schemas.executionBody, summary: 'Freeze the task', role: 'host', params: id, response: { status: 200, body: schemas.taskReport }, errors: ['task.not_found', 'task.state'] },
  resumeTask: { method: 'POST', path: '/api/tasks/{id}/resume', body: schemas.executionBody, summary: 'Go on with the task', role: 'host', params: id, response: { status: 200, body: schemas.taskReport }, errors: ['task.not_found', 'task.state'] },
  getTaskOutput: {
    method: 'GET', path: '/api/tasks/{id}/output', summary: 'What a task has printed so far, from a byte on or so many lines from the end, for a Host that does not see the shared directory', role: 'host', params: id,
    query: z.strictObject({ stream: z.enum(outputChannels), instance: z.coerce.number().int().min(1), offset: z.coerce.number().int().min(0), tail: schemas.outputQuery.shape.tail }), response: { status: 200, stream: 'application/octet-stream' }, errors: ['storage.unavailable'],
  },
  putImage: {
    method: 'PUT', path: '/api/images/{environment}/{version}', summary: 'Load this version; `wait` holds the answer until it is there. The same twice loads once', role: 'host', params: versionOfEnvironment,
    query: schemas.waitQuery, body: schemas.versionOrder, response: { status: 200, body: schemas.prefetchState },
    errors: ['environment.name_invalid', 'tarball.not_found', 'tarball.damaged', 'storage.unavailable', 'storage.full', 'engine.failed', 'engine.invalid'],
  },
  cancelImage: { method: 'POST', path: '/api/images/{environment}/{version}/cancel', summary: 'Give up the load, unless a task waits for it', role: 'host', params: versionOfEnvironment, response: { status: 204 }, errors: ['environment.name_invalid'] },
  getLayer: { method: 'GET', path: '/api/layers/{digest}', summary: 'A layer for a neighbour', role: 'neighbour', params: z.strictObject({ digest: schemas.layerDigest }), response: { status: 200, stream: 'application/octet-stream' }, errors: ['layer.not_found'] },
})
export type RunnerApi = typeof runnerApi
