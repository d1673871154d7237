import { z } from 'zod'
import { defineEndpoints } from './endpoint.ts'
import * as schemas from './schemas.ts'

const name = z.strictObject({ name: schemas.environmentName })
const nameAndVersion = z.strictObject({ name: schemas.environmentName, version: schemas.versionNumber })
const operationId = z.strictObject({ id: z.string().max(64) })
const taskId = z.strictObject({ id: z.string().max(64) })
const hostname = z.strictObject({ hostname: schemas.nodeName })

/** Whatever makes a task, or tells what making it would come to, checks the same. */
const submitErrors = ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'tarball.damaged', 'target.invalid', 'node.not_found', 'node.too_small', 'task.command_invalid', 'task.items_invalid', 'task.key_used', 'task.mount_not_allowed', 'task.not_allowed', 'task.not_found', 'storage.unavailable'] as const

/** Everything the Host answers. */
export const hostApi = defineEndpoints({
  getHealth: { method: 'GET', path: '/api/health', summary: 'Whether the Host works, and what is wrong if not', role: 'public', response: { status: 200, body: schemas.health }, errors: [] },
  getOpenApi: { method: 'GET', path: '/openapi.json', summary: 'This contract as OpenAPI 3.1', role: 'admin', response: { status: 200, stream: 'application/json' }, errors: [] },

  listContainers: { method: 'GET', path: '/api/containers', summary: 'The persistent containers of HakuRiver', role: 'admin', response: { status: 200, body: z.object({ items: z.array(schemas.container) }) }, errors: ['engine.unavailable'] },
  createContainer: {
    method: 'POST', path: '/api/containers', summary: 'Create and start the persistent container of an environment', role: 'admin',
    body: schemas.createContainerBody, response: { status: 202, body: schemas.operation },
    errors: ['environment.name_invalid', 'image.reference_invalid', 'container.exists', 'container.name_taken', 'environment.busy', 'task.mount_not_allowed', 'engine.unavailable'],
  },
  getContainer: { method: 'GET', path: '/api/containers/{name}', summary: 'One container', role: 'admin', params: name, response: { status: 200, body: schemas.container }, errors: ['environment.name_invalid', 'container.not_found', 'engine.unavailable'] },
  deleteContainer: { method: 'DELETE', path: '/api/containers/{name}', summary: 'Stop and remove the container; its versions stay', role: 'admin', params: name, response: { status: 204 }, errors: ['environment.name_invalid', 'container.not_found', 'environment.busy', 'engine.unavailable'] },
  startContainer: { method: 'POST', path: '/api/containers/{name}/start', summary: 'Start a stopped container', role: 'admin', params: name, response: { status: 200, body: schemas.container }, errors: ['environment.name_invalid', 'container.not_found', 'environment.busy', 'engine.unavailable'] },
  stopContainer: { method: 'POST', path: '/api/containers/{name}/stop', summary: 'Stop a running container', role: 'admin', params: name, response: { status: 200, body: schemas.container }, errors: ['environment.name_invalid', 'container.not_found', 'environment.busy', 'engine.unavailable'] },
  openTerminal: {
    method: 'GET', path: '/api/containers/{name}/terminal', summary: 'A shell in the running container, over a WebSocket', role: 'admin', params: name,
    query: z.strictObject({ tty: z.stringbool().default(true), columns: z.coerce.number().int().min(1).max(10_000).catch(80).default(80), rows: z.coerce.number().int().min(1).max(10_000).catch(24).default(24) }),
    response: { status: 101, socket: 'core/terminal/protocol' }, errors: ['environment.name_invalid', 'container.not_found', 'container.not_running', 'container.no_shell', 'engine.unavailable'],
  },

  listEnvironments: { method: 'GET', path: '/api/environments', summary: 'Packaged environments with their versions', role: 'admin', response: { status: 200, body: z.object({ items: z.array(schemas.environment) }) }, errors: ['storage.unavailable'] },
  getEnvironment: { method: 'GET', path: '/api/environments/{name}', summary: 'One packaged environment', role: 'admin', params: name, response: { status: 200, body: schemas.environment }, errors: ['environment.name_invalid', 'environment.no_version', 'storage.unavailable'] },
  createVersion: {
    method: 'POST', path: '/api/environments/{name}/versions', summary: 'Package the container as a new version', role: 'admin', params: name,
    body: schemas.createVersionBody, response: { status: 202, body: schemas.operation },
    errors: ['environment.name_invalid', 'container.not_found', 'environment.busy', 'engine.unavailable', 'storage.unavailable'],
  },
  getVersion: { method: 'GET', path: '/api/environments/{name}/versions/{version}', summary: 'One version, with what its manifest tells', role: 'admin', params: nameAndVersion, response: { status: 200, body: schemas.versionDetails }, errors: ['environment.name_invalid', 'tarball.not_found', 'storage.unavailable'] },
  pinVersion: { method: 'PUT', path: '/api/environments/{name}/versions/{version}/pin', summary: 'Keep the version until it is unpinned', role: 'admin', params: nameAndVersion, response: { status: 200, body: schemas.version }, errors: ['environment.name_invalid', 'tarball.not_found', 'storage.unavailable'] },
  unpinVersion: { method: 'DELETE', path: '/api/environments/{name}/versions/{version}/pin', summary: 'Let the version go when it is superseded', role: 'admin', params: nameAndVersion, response: { status: 200, body: schemas.version }, errors: ['environment.name_invalid', 'tarball.not_found', 'storage.unavailable'] },
  exportVersion: {
    method: 'GET', path: '/api/environments/{name}/versions/{version}/archive', summary: 'The version as an archive that any Engine loads; each layer is checked on the way', role: 'admin', params: nameAndVersion,
    response: { status: 200, stream: 'application/x-tar' }, errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'tarball.damaged', 'storage.unavailable'],
  },
  importVersion: {
    method: 'POST', path: '/api/environments/{name}/import', summary: 'Make an archive of an image (docker save, podman save, skopeo) the newest version', role: 'admin', params: name, query: schemas.importQuery,
    upload: ['application/x-tar', 'application/octet-stream', 'application/gzip'], maxBodyBytes: 1024 ** 4, response: { status: 201, body: schemas.importedVersion },
    errors: ['environment.name_invalid', 'import.refused', 'environment.busy', 'version.no_number_left', 'storage.full', 'storage.unavailable'],
  },
  diffVersions: {
    method: 'GET', path: '/api/environments/{name}/diff', summary: 'Files and packages that differ between two versions', role: 'admin', params: name, query: schemas.diffQuery, response: { status: 200, body: schemas.versionDiff },
    errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'tarball.damaged', 'version.without_manifest', 'storage.unavailable'],
  },
  rollbackEnvironment: {
    method: 'POST', path: '/api/environments/{name}/rollback', summary: 'Make an older version current again, under a new number', role: 'admin', params: name, body: schemas.rollbackBody, response: { status: 202, body: schemas.operation },
    errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'tarball.damaged', 'version.is_current', 'version.without_manifest', 'environment.busy', 'storage.unavailable'],
  },
  planDeletion: {
    method: 'GET', path: '/api/environments/{name}/deletion', summary: 'What deleting all versions, or one, would do', role: 'admin', params: name, query: z.strictObject({ version: schemas.versionNumber.optional() }), response: { status: 200, body: schemas.deletionPlan },
    errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'storage.unavailable'],
  },
  deleteVersions: {
    method: 'POST', path: '/api/environments/{name}/deletion', summary: 'Delete exactly these versions; the container stays', role: 'admin', params: name, body: schemas.deletionBody, response: { status: 200, body: schemas.deletionResult },
    errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'version.needed', 'environment.busy', 'storage.unavailable'],
  },
  forkEnvironment: {
    method: 'POST', path: '/api/environments/{name}/fork', summary: 'Create and start a persistent container from a version', role: 'admin', params: name, body: schemas.forkBody, response: { status: 202, body: schemas.operation },
    errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'tarball.damaged', 'version.without_manifest', 'container.exists', 'container.name_taken', 'environment.busy', 'engine.unavailable', 'storage.unavailable'],
  },

  prefetchVersion: {
    method: 'POST', path: '/api/environments/{name}/prefetch', summary: 'Load a version on nodes before a task needs it', role: 'admin', params: name, body: schemas.prefetchBody, response: { status: 202, body: schemas.operation },
    errors: ['environment.name_invalid', 'environment.no_version', 'tarball.not_found', 'tarball.damaged', 'node.not_found', 'storage.unavailable'],
  },
  verifyVersion: {
    method: 'POST', path: '/api/environments/{name}/versions/{version}/verify', summary: 'Read the version from the storage and compare its digests: marks it as damaged, or lifts the mark', role: 'admin', params: nameAndVersion, response: { status: 202, body: schemas.operation },
    errors: ['environment.name_invalid', 'tarball.not_found', 'storage.unavailable'],
  },

  listOperations: { method: 'GET', path: '/api/operations', summary: 'Work in the background, newest first', role: 'admin', query: schemas.pageQuery, response: { status: 200, body: schemas.page(schemas.operation) }, errors: [] },
  getOperation: { method: 'GET', path: '/api/operations/{id}', summary: 'One operation; `wait` holds the answer until it has ended', role: 'admin', params: operationId, query: schemas.waitQuery, response: { status: 200, body: schemas.operation }, errors: ['operation.not_found'] },
  followOperation: { method: 'GET', path: '/api/operations/{id}/events', summary: 'The operation as server-sent events, one for each change, until it has ended', role: 'admin', params: operationId, response: { status: 200, stream: 'text/event-stream' }, errors: ['operation.not_found'] },
  cancelOperation: { method: 'POST', path: '/api/operations/{id}/cancel', summary: 'Undo a running operation', role: 'admin', params: operationId, response: { status: 202, body: schemas.operation }, errors: ['operation.not_found', 'operation.finished'] },

  listNodes: { method: 'GET', path: '/api/nodes', summary: 'Nodes with their resources', role: 'admin', response: { status: 200, body: z.object({ items: z.array(schemas.node) }) }, errors: [] },
  getNode: { method: 'GET', path: '/api/nodes/{hostname}', summary: 'One node', role: 'admin', params: hostname, response: { status: 200, body: schemas.node }, errors: ['node.name_invalid', 'node.not_found'] },
  drainNode: { method: 'POST', path: '/api/nodes/{hostname}/drain', summary: 'Give the node no more tasks; those it has go on', role: 'admin', params: hostname, body: schemas.drainBody, response: { status: 200, body: schemas.node }, errors: ['node.name_invalid', 'node.not_found'] },
  undrainNode: { method: 'POST', path: '/api/nodes/{hostname}/undrain', summary: 'Give the node tasks again', role: 'admin', params: hostname, response: { status: 200, body: schemas.node }, errors: ['node.name_invalid', 'node.not_found'] },
  removeNode: { method: 'DELETE', path: '/api/nodes/{hostname}', summary: 'Forget a node that is offline; what it still had is lost', role: 'admin', params: hostname, response: { status: 204 }, errors: ['node.name_invalid', 'node.not_found', 'node.online'] },

  submitTask: {
    method: 'POST', path: '/api/tasks', summary: 'Submit a command, one task for each target or item', role: 'admin', body: schemas.submitBody, maxBodyBytes: 64 * 1024 * 1024,
    response: { status: 201, body: schemas.submitResponse },
    errors: submitErrors,
  },
  previewTask: {
    method: 'POST', path: '/api/tasks/preview', summary: 'What submitting this would come to; nothing is stored', role: 'admin', body: schemas.submitBody, maxBodyBytes: 64 * 1024 * 1024,
    response: { status: 200, body: schemas.submitPreview },
    errors: submitErrors,
  },
  listTasks: { method: 'GET', path: '/api/tasks', summary: 'Tasks, newest first', role: 'admin', query: schemas.taskQuery, response: { status: 200, body: schemas.page(schemas.task) }, errors: [] },
  getTask: { method: 'GET', path: '/api/tasks/{id}', summary: 'One task or batch, with its events; `wait` holds the answer until it has ended', role: 'admin', params: taskId, query: schemas.waitQuery, response: { status: 200, body: schemas.taskDetails }, errors: ['task.not_found'] },
  explainTask: { method: 'GET', path: '/api/tasks/{id}/explanation', summary: 'Why a task waits: its place in the queue, and for each node why not there', role: 'admin', params: taskId, response: { status: 200, body: schemas.explanation }, errors: ['task.not_found'] },
  killTask: { method: 'POST', path: '/api/tasks/{id}/kill', summary: 'End a task, or all items of a batch', role: 'admin', params: taskId, response: { status: 202, body: schemas.task }, errors: ['task.not_found', 'task.finished'] },
  pauseTask: { method: 'POST', path: '/api/tasks/{id}/pause', summary: 'Freeze a running task', role: 'admin', params: taskId, response: { status: 202, body: schemas.task }, errors: ['task.not_found', 'task.finished', 'task.state', 'node.unreachable'] },
  resumeTask: { method: 'POST', path: '/api/tasks/{id}/resume', summary: 'Go on with a paused task', role: 'admin', params: taskId, response: { status: 202, body: schemas.task }, errors: ['task.not_found', 'task.finished', 'task.state', 'node.unreachable'] },
  holdTask: { method: 'POST', path: '/api/tasks/{id}/hold', summary: 'Keep a waiting task, or what waits of a batch, in the queue', role: 'admin', params: taskId, response: { status: 200, body: schemas.task }, errors: ['task.not_found', 'task.finished', 'task.state'] },
  releaseTask: { method: 'POST', path: '/api/tasks/{id}/release', summary: 'Let a held task go', role: 'admin', params: taskId, response: { status: 200, body: schemas.task }, errors: ['task.not_found', 'task.finished', 'task.state'] },
  moveTask: { method: 'POST', path: '/api/tasks/{id}/move', summary: 'Change the place of a waiting task in the queue, its priority or its target', role: 'admin', params: taskId, body: schemas.moveBody, response: { status: 200, body: schemas.task }, errors: ['task.not_found', 'task.finished', 'task.state', 'target.invalid', 'node.not_found', 'node.too_small'] },
  rerunTask: { method: 'POST', path: '/api/tasks/{id}/rerun', summary: 'Submit the same again: version, command, variables, mounts and all', role: 'admin', params: taskId, body: schemas.rerunBody, response: { status: 201, body: schemas.submitResponse }, errors: submitErrors },
  retryTask: { method: 'POST', path: '/api/tasks/{id}/retry', summary: 'Execute a task that did not succeed once more, or such items of a batch', role: 'admin', params: taskId, response: { status: 202, body: schemas.task }, errors: ['task.not_found', 'task.state', 'tarball.not_found', 'storage.unavailable'] },
  getTaskStdout: { method: 'GET', path: '/api/tasks/{id}/stdout', summary: 'What the task printed', role: 'admin', params: taskId, query: schemas.outputQuery, response: { status: 200, stream: 'application/octet-stream' }, errors: ['task.not_found', 'task.is_batch', 'output.not_found', 'output.range_invalid', 'storage.unavailable', 'node.unreachable'] },
  getTaskStderr: { method: 'GET', path: '/api/tasks/{id}/stderr', summary: 'What the task printed to standard error', role: 'admin', params: taskId, query: schemas.outputQuery, response: { status: 200, stream: 'application/octet-stream' }, errors: ['task.not_found', 'task.is_batch', 'output.not_found', 'output.range_invalid', 'storage.unavailable', 'node.unreachable'] },

  registerRunner: { method: 'POST', path: '/api/runners/register', summary: 'A Runner reports for duty', role: 'runner', body: schemas.registerBody, maxBodyBytes: 4 * 1024 * 1024, response: { status: 200, body: schemas.registerResponse }, errors: ['node.name_invalid', 'node.name_in_use'] },
  tellLayers: { method: 'PUT', path: '/api/runners/{hostname}/layers', summary: 'The layers that this node gives to others, and those it is getting', role: 'runner', params: hostname, body: schemas.layersBody, maxBodyBytes: 4 * 1024 * 1024, response: { status: 204 }, errors: ['node.name_invalid', 'node.not_found'] },
  findLayerSource: { method: 'POST', path: '/api/runners/{hostname}/layers/{digest}/source', summary: 'Where to get a layer from. `wait` holds the answer while another node is getting it', role: 'runner', params: hostname.extend({ digest: schemas.layerDigest }), query: schemas.waitQuery, body: schemas.layerSourceBody, response: { status: 200, body: schemas.layerSource }, errors: ['node.name_invalid', 'node.not_found'] },
  heartbeat: { method: 'POST', path: '/api/runners/{hostname}/heartbeat', summary: 'A Runner lives', role: 'runner', params: hostname, body: schemas.heartbeatBody, maxBodyBytes: 16 * 1024 * 1024, response: { status: 200, body: schemas.heartbeatResponse }, errors: ['node.name_invalid', 'node.not_found'] },
  reportTasks: { method: 'POST', path: '/api/runners/{hostname}/reports', summary: 'What a Runner saw of its tasks', role: 'runner', params: hostname, body: schemas.reportsBody, maxBodyBytes: 16 * 1024 * 1024, response: { status: 200, body: schemas.reportsResponse }, errors: ['node.name_invalid', 'node.not_found'] },
})
export type HostApi = typeof hostApi
