import { hostApi } from '#core/api/host.ts'
import type { TaskReport } from '#core/api/schemas.ts'

/** How many reports go to the Host at once. What it does not take must not keep the others from it. */
export interface Batches {
  /** The next ones of the outbox. */
  next(outbox: readonly TaskReport[]): { reports: TaskReport[]; isAll: boolean }
  /** The last ones were taken. */
  taken(): void
  /** These were not, because of what is in them: fewer come next, and one alone is left out as long as it does not change. */
  refused(reports: readonly TaskReport[], reason: Error): void
  /** All are tried again. */
  forgive(): void
}

export function createBatches(): Batches {
  let most = MAX_REPORTS
  /** A report that changes is another object. */
  let leftOut = new WeakSet<TaskReport>()

  return {
    next(outbox) {
      const due = outbox.filter((report) => !leftOut.has(report))
      const some = due.slice(0, most)
      const reports = some.slice(0, countWithin(some, MAX_BYTES))
      return { reports, isAll: reports.length === due.length }
    },
    taken() {
      most = Math.min(MAX_REPORTS, most * 2)
    },
    refused(reports, { message }) {
      most = Math.ceil(reports.length / 2)
      const [report] = reports
      if (reports.length > 1 || !report) return
      leftOut.add(report)
      console.error(`[hakuriver] [runner] the Host does not take the report that execution ${report.instance} of task ${report.id} is ${report.state}, so it does not hear of it: ${message} Are Host and Runner of the same version?`)
    },
    forgive() {
      leftOut = new WeakSet()
    },
  }
}

// --- internal ---

/** What the contract takes at once. */
const MAX_REPORTS = 1000
/** Of a body that may be twice as large: the rest is for what is around them. */
const MAX_BYTES = (hostApi.reportTasks.maxBodyBytes ?? 0) / 2

/** How many from the beginning on have so many bytes as JSON; at least one. */
function countWithin(reports: readonly TaskReport[], maxBytes: number): number {
  let bytes = 0
  const end = reports.findIndex((report) => (bytes += Buffer.byteLength(JSON.stringify(report))) > maxBytes)
  return end < 0 ? reports.length : Math.max(1, end)
}
