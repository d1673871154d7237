/**
 * Every error a user can meet, by stable code.
 *
 * The low layer throws a {@link HakuError} with a code; `core/http` maps its kind to an HTTP status, `cli` maps it to an
 * exit code. Nobody else translates errors.
 */

/** What sort of failure a code is. Decides the HTTP status and the exit code, nothing else does. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'conflict'
  | 'too_large'
  | 'range_not_satisfiable'
  | 'unsupported_media_type'
  | 'misdirected'
  | 'impossible'
  | 'cancelled'
  | 'unreachable'
  | 'unavailable'
  | 'internal'

interface ErrorClass {
  kind: ErrorKind
  /** One short sentence that is the same for every occurrence (RFC 9457 `title`). */
  title: string
}

/** All codes. A code is API: it is never renamed. */
export const errorCatalogue = {
  'request.invalid': { kind: 'invalid', title: 'The request is not valid' },
  'request.invalid_json': { kind: 'invalid', title: 'The body is not valid JSON' },
  'request.body_too_large': { kind: 'too_large', title: 'The request body is too large' },
  'request.content_type': { kind: 'unsupported_media_type', title: 'The body must be sent as application/json' },
  'request.unknown_host': { kind: 'misdirected', title: 'The Host header names another server' },
  'request.origin_refused': { kind: 'forbidden', title: 'Requests from this origin are refused' },
  'request.upgrade_required': { kind: 'invalid', title: 'This endpoint speaks WebSocket only' },
  'request.method_not_allowed': { kind: 'method_not_allowed', title: 'The endpoint does not know this method' },
  'endpoint.not_found': { kind: 'not_found', title: 'No such endpoint' },
  'auth.required': { kind: 'unauthenticated', title: 'A credential is needed' },
  'auth.invalid_token': { kind: 'unauthenticated', title: 'The token is not known here' },
  'auth.token_in_url': { kind: 'unauthenticated', title: 'A token must not stand in a URL' },
  'auth.role_refused': { kind: 'forbidden', title: 'The credential does not allow this' },
  'usage.invalid': { kind: 'invalid', title: 'The command line is not valid' },
  'config.invalid': { kind: 'invalid', title: 'The configuration is not valid' },
  'config.not_found': { kind: 'invalid', title: 'The configuration file does not exist' },
  'environment.name_invalid': { kind: 'invalid', title: 'Not a valid environment name' },
  'environment.no_version': { kind: 'not_found', title: 'The environment has no version yet' },
  'environment.not_packageable': { kind: 'impossible', title: 'The container holds what no image can hold' },
  'environment.busy': { kind: 'conflict', title: 'Another operation works on this environment' },
  'container.not_found': { kind: 'not_found', title: 'The environment has no container' },
  'container.exists': { kind: 'conflict', title: 'The environment already has a container' },
  'container.name_taken': { kind: 'conflict', title: 'A container that is not of HakuRiver has this name' },
  'container.not_running': { kind: 'conflict', title: 'The container is not running' },
  'container.no_shell': { kind: 'impossible', title: 'The container has no shell' },
  'container.exited': { kind: 'impossible', title: 'The container does not stay up' },
  'image.reference_invalid': { kind: 'invalid', title: 'Not a valid image reference' },
  'image.not_found': { kind: 'not_found', title: 'No such image' },
  'image.too_many_layers': { kind: 'impossible', title: 'The image has more layers than an Engine takes' },
  'image.pull_failed': { kind: 'unavailable', title: 'The image could not be pulled' },
  'tarball.not_found': { kind: 'not_found', title: 'The tarball is not on the shared storage' },
  'tarball.damaged': { kind: 'impossible', title: 'The tarball is damaged' },
  'version.is_current': { kind: 'conflict', title: 'The version is the current one already' },
  'version.no_number_left': { kind: 'conflict', title: 'There is no higher version number' },
  'version.needed': { kind: 'conflict', title: 'The version is pinned or still needed' },
  'version.without_manifest': { kind: 'impossible', title: 'The tarball was made by other tools' },
  'version.test_failed': { kind: 'impossible', title: 'The new version failed its test' },
  'import.refused': { kind: 'impossible', title: 'The archive can not be imported' },
  'layer.not_found': { kind: 'not_found', title: 'The node does not have this layer' },
  'storage.unavailable': { kind: 'unavailable', title: 'The shared storage can not be used' },
  'storage.full': { kind: 'unavailable', title: 'The storage is full' },
  'engine.unavailable': { kind: 'unavailable', title: 'The Docker Engine can not be reached' },
  'engine.not_found': { kind: 'not_found', title: 'The Docker Engine does not know this object' },
  'engine.conflict': { kind: 'conflict', title: 'The Docker Engine reports a conflict' },
  'engine.invalid': { kind: 'impossible', title: 'The Docker Engine refuses the request' },
  'engine.failed': { kind: 'internal', title: 'The Docker Engine failed' },
  'operation.not_found': { kind: 'not_found', title: 'No such operation' },
  'operation.finished': { kind: 'conflict', title: 'The operation has already finished' },
  'operation.cancelled': { kind: 'cancelled', title: 'The operation was cancelled' },
  'operation.interrupted': { kind: 'internal', title: 'The operation was interrupted by a stop of the Host' },
  'node.not_found': { kind: 'not_found', title: 'No such node' },
  'node.name_invalid': { kind: 'invalid', title: 'Not a valid node name' },
  'node.name_in_use': { kind: 'conflict', title: 'A living node has this name' },
  'node.online': { kind: 'conflict', title: 'The node is online' },
  'node.unreachable': { kind: 'unavailable', title: 'The node does not answer' },
  'node.too_small': { kind: 'impossible', title: 'No node could ever run this' },
  'target.invalid': { kind: 'invalid', title: 'Not a valid target' },
  'size.invalid': { kind: 'invalid', title: 'Not a valid size' },
  'task.not_found': { kind: 'not_found', title: 'No such task' },
  'task.finished': { kind: 'conflict', title: 'The task has already finished' },
  'task.state': { kind: 'conflict', title: 'The task is in the wrong state for this' },
  'task.command_invalid': { kind: 'invalid', title: 'The command can not be run' },
  'task.key_used': { kind: 'conflict', title: 'The key came with another submission' },
  'task.items_invalid': { kind: 'invalid', title: 'The items of the batch are not valid' },
  'task.is_batch': { kind: 'impossible', title: 'This is a batch, and not one of its items' },
  'output.not_found': { kind: 'not_found', title: 'The output is not there' },
  'output.range_invalid': { kind: 'range_not_satisfiable', title: 'The output does not have these bytes' },
  'task.superseded': { kind: 'conflict', title: 'A later execution of the task is known' },
  'task.not_allowed': { kind: 'forbidden', title: 'The configuration does not allow this' },
  'task.mount_not_allowed': { kind: 'forbidden', title: 'The mount is not allowed' },
  'host.unreachable': { kind: 'unreachable', title: 'The Host can not be reached' },
  'host.stopping': { kind: 'unavailable', title: 'The Host is stopping' },
  'internal.error': { kind: 'internal', title: 'An error inside HakuRiver' },
} as const satisfies Record<string, ErrorClass>

export type ErrorCode = keyof typeof errorCatalogue

/** One thing that is wrong with one field of a request or a file. */
export interface Issue {
  /** Dotted path of the field; empty for the whole. */
  path: string
  message: string
}

export interface HakuErrorOptions {
  cause?: unknown
  issues?: Issue[]
}

/** An error with a stable code. `message` says what happened, to what, and what to do next. */
export class HakuError extends Error {
  readonly code: ErrorCode
  readonly issues: Issue[] | undefined

  constructor(code: ErrorCode, detail: string, options: HakuErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'HakuError'
    this.code = code
    this.issues = options.issues
  }

  get kind(): ErrorKind {
    return errorCatalogue[this.code].kind
  }
}

/** Whether `error` is a {@link HakuError}, with one of `codes` if any are given. */
export function isHakuError(error: unknown, ...codes: ErrorCode[]): error is HakuError {
  return error instanceof HakuError && (codes.length === 0 || codes.includes(error.code))
}

/** Whether `code` is one of ours: for codes that arrive over the wire from another version. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code)
}

/** The text of anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`, …), if it is one. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/**
 * The error in the shape that goes over the wire and into the database: an RFC 9457 problem.
 * An unknown error is `internal.error`; its text stays on this machine (in the log), because it may name anything.
 */
export function toProblem(error: unknown, status: number): ProblemDetails {
  const known = isHakuError(error) ? error : new HakuError('internal.error', 'An error inside HakuRiver. The log of the process that answered tells more.')
  return {
    type: `urn:hakuriver:error:${known.code}`,
    title: errorCatalogue[known.code].title,
    status,
    code: known.code,
    detail: known.message,
    ...(known.issues && { issues: known.issues }),
  }
}

export interface ProblemDetails {
  type: string
  title: string
  status: number
  code: string
  detail: string
  issues?: Issue[]
}

/** The error that a problem from the wire describes. A code of a newer version becomes `internal.error`. */
export function fromProblem(problem: { code: string; detail: string; issues?: Issue[] | undefined }): HakuError {
  const code = isErrorCode(problem.code) ? problem.code : 'internal.error'
  return new HakuError(code, problem.detail, problem.issues ? { issues: problem.issues } : {})
}
