import type { SyncProgress } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'

/** `syncing 12.0 MB of 800 MB, 100 MB/s` */
export function formatSync({ bytes, totalBytes, bytesPerSecond }: SyncProgress): string {
  return `syncing ${formatSize(bytes)} of ${formatSize(totalBytes)}${bytesPerSecond === null ? '' : `, ${formatSize(bytesPerSecond)}/s`}`
}
