import { z } from 'zod'
import { isEnvironmentName, ENVIRONMENT_NAME_RULE, isNodeName, quote } from '../../names.ts'

export const environmentName = z.string().superRefine((name, context) => {
  if (!isEnvironmentName(name)) context.addIssue({ code: 'custom', message: `${quote(name)} is not a valid environment name. Use ${ENVIRONMENT_NAME_RULE}.`, params: { code: 'environment.name_invalid' } })
})
export const nodeName = z.string().superRefine((name, context) => {
  if (!isNodeName(name)) context.addIssue({ code: 'custom', message: `${quote(name)} is not a valid node name.`, params: { code: 'node.name_invalid' } })
})
export const time = z.iso.datetime()
/** Text that arrives everywhere as it was sent: UTF-8 has no half characters, and a NUL ends a word for the kernel. */
export const text = z.string().refine((value) => !value.includes('\0'), 'contains a NUL character').refine((value) => value.isWellFormed(), 'is not valid Unicode: it contains half of a surrogate pair')
export const bytes = z.int().nonnegative()

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
})
export type Problem = z.infer<typeof problem>

/** Lists: newest first; `cursor` is the id after which to go on. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().max(100).optional(),
})

export const waitQuery = z.strictObject({
  /** Hold the answer until the object has ended, for at most this many seconds. */
  wait: z.coerce.number().min(0).max(60).default(0),
})

/** A page of a list; `nextCursor` is what asks for the next one, `null`: there is none. */
export function page<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() })
}

export const health = z.object({ status: z.enum(['ok', 'degraded', 'stopping']), version: z.string(), problems: z.array(problem) })
export type Health = z.infer<typeof health>
