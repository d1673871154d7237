import type { z } from 'zod'
import { HakuError } from '../errors.ts'

/**
 * The Engine's answer as `schema` has it. `what` is what was asked for, as in the other messages: `create the container "my-env"`.
 *
 * @throws `engine.failed` if it is something else: a ZodError would look like a mistake of the user
 */
export function readAnswer<T>(schema: z.ZodType<T>, answer: unknown, what: string): T {
  const parsed = schema.safeParse(answer)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new HakuError('engine.failed', `Could not ${what}: the Docker Engine answers something that this version does not know (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}).`, { cause: parsed.error })
}
