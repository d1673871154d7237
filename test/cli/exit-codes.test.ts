import { expect, it } from 'vitest'
import { exitCodeOf } from '#cli/framework/exit-codes.ts'
import { taskExitCode } from '#cli/tasks/wait.ts'
import { type ErrorCode, HakuError } from '#core/errors.ts'

it.each<[ErrorCode, number]>([
  ['usage.invalid', 2],
  ['environment.name_invalid', 2],
  ['size.invalid', 2],
  ['config.not_found', 2],
  ['environment.no_version', 3],
  ['image.not_found', 3],
  ['task.not_found', 3],
  ['auth.required', 4],
  ['auth.role_refused', 4],
  ['host.unreachable', 5],
  ['node.unreachable', 1],
  ['container.exists', 1],
  ['engine.unavailable', 1],
  ['storage.full', 1],
  ['host.stopping', 1],
  ['operation.cancelled', 1],
  ['internal.error', 1],
])('%s ends with %i', (code, expected) => {
  expect(exitCodeOf(new HakuError(code, '').kind)).toBe(expected)
})

it.each([
  ['succeeded', 0, 0],
  ['failed', 3, 3],
  ['failed', null, 1],
  ['failed', 0, 1],
  ['killed', null, 1],
  ['killed', 137, 137],
  ['lost', null, 1],
] as const)('a task that %s with %s ends with %i', (state, exitCode, expected) => {
  expect(taskExitCode({ state, exitCode })).toBe(expected)
})
