import type { SubmitPreview } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { formatTable, localTimes } from '../../framework/output.ts'

/** What a submission would come to, as a table: a row for each target, of items the first alone. */
export function formatPreview({ fileName, tasks }: SubmitPreview): string {
  const header = ['NODE', 'VERSION', 'TO LOAD', 'QUEUE', 'WAITS FOR']
  return formatTable(header, tasks.map(({ node, place, message, syncBytes }) => [
    node,
    fileName,
    syncBytes === null ? null : syncBytes === 0 ? 'nothing' : formatSize(syncBytes),
    place === 0 ? 'starts at once' : `place ${place}`,
    message && localTimes(message),
  ]))
}
