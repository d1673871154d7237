import type { ResolvedVersion, Versions } from '../environments/versions.ts'

/** Finding out which version a submission is to run, for many at a time. */
export interface Pinning {
  /** Runs `work` with the version; nobody removes it before `work` has ended. @throws as `Versions.use` */
  pin<T>(environment: string, version: number | undefined, work: (resolved: ResolvedVersion) => Promise<T>): Promise<T>
}

/** The storage is asked once for all who came while it was asked before: each sees what was there when it came, or something newer. */
export function createPinning(versions: Pick<Versions, 'use'>): Pinning {
  const waiting = new Map<string, Waiter[]>()
  const asking = new Set<string>()

  async function ask(key: string, environment: string, version: number | undefined): Promise<void> {
    asking.add(key)
    try {
      for (let waiters = waiting.get(key); waiters; waiters = waiting.get(key)) {
        waiting.delete(key)
        await answer(versions, { environment, version, waiters })
      }
    } finally {
      asking.delete(key)
    }
  }

  return {
    pin(environment, version, work) {
      const key = `${environment}@${version ?? ''}`
      return new Promise((resolve, reject) => {
        const waiter: Waiter = { work: async (resolved) => work(resolved).then(resolve, reject), reject }
        waiting.set(key, [...(waiting.get(key) ?? []), waiter])
        if (!asking.has(key)) void ask(key, environment, version)
      })
    },
  }
}

// --- internal ---

interface Waiter {
  work(resolved: ResolvedVersion): Promise<void>
  reject(error: unknown): void
}

async function answer(versions: Pick<Versions, 'use'>, { environment, version, waiters }: { environment: string; version: number | undefined; waiters: readonly Waiter[] }): Promise<void> {
  try {
    await versions.use(environment, version, (resolved) => Promise.all(waiters.map(({ work }) => work(resolved))))
  } catch (error) {
    for (const { reject } of waiters) reject(error)
  }
}
