import { z } from 'zod'
import { defineEndpoints } from './endpoint.ts'
import * as schemas from './schemas.ts'

const id = z.strictObject({ id: schemas.taskId })

/** Everything a Runner answers, to its Host alone. */
export const runnerApi = defineEndpoints({
  getHealth: { method: 'GET', path: '/api/health', summary: 'Whether the Runner works', role: 'public', response: { status: 200, body: schemas.health }, errors: [] },
  putTask: { method: 'PUT', path: '/api/tasks/{id}', summary: 'Run this task. The same id twice starts one container', role: 'host', params: id, body: schemas.taskOrder, maxBodyBytes: 4 * 1024 * 1024, response: { status: 202, body: schemas.taskReport }, errors: [] },
  killTask: { method: 'POST', path: '/api/tasks/{id}/kill', summary: 'End the task', role: 'host', params: id, response: { status: 202, body: schemas.taskReport }, errors: ['task.not_found'] },
  pauseTask: { method: 'POST', path: '/api/tasks/{id}/pause', summary: 'Freeze the task', role: 'host', params: id, response: { status: 200, body: schemas.taskReport }, errors: ['task.not_found', 'task.state'] },
  resumeTask: { method: 'POST', path: '/api/tasks/{id}/resume', summary: 'Go on with the task', role: 'host', params: id, response: { status: 200, body: schemas.taskReport }, errors: ['task.not_found', 'task.state'] },
})
export type RunnerApi = typeof runnerApi
