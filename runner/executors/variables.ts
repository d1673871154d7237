import type { TaskOrder } from '#core/api/schemas.ts'

/** The environment variables of a task: what was asked for, and what tells it about itself. */
export function taskVariables(order: TaskOrder, hostname: string): Record<string, string> {
  const [, index] = order.id.split('.')
  return {
    ...order.env,
    HAKURIVER_TASK_ID: order.id,
    HAKURIVER_NODE: hostname,
    HAKURIVER_INSTANCE: String(order.instance),
    ...(order.image && { HAKURIVER_ENVIRONMENT: order.image.environment }),
    ...(index !== undefined && { HAKURIVER_ARRAY_INDEX: index }),
  }
}
