import { errorMessage, isHakuError } from '../errors.ts'

export interface Service {
  /** Ends everything in order. */
  stop(): Promise<void>
}

/** Longer than any step of a stop may take; then systemd would kill us anyway. */
const STOP_DEADLINE_MS = 30_000

/**
 * Runs a Host or Runner as a process: starts it, stops it on SIGTERM and SIGINT with exit code 0, and ends the process on
 * an error that nobody caught, because its state may be wrong from then on (systemd starts it again).
 *
 * A start that fails says why in one line and exits 1.
 */
export async function runService(name: string, start: () => Promise<Service>): Promise<void> {
  const tag = `[hakuriver] [${name.toLowerCase()}]`
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      console.error(`${tag} unexpected error, the ${name} ends:`, error)
      process.exit(1)
    })
  }
  try {
    const service = await start()
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(tag, signal, service))
  } catch (error) {
    console.error(`${tag} ${isHakuError(error) ? error.message : `could not start: ${errorMessage(error)}`}`)
    if (!isHakuError(error)) console.error(error)
    process.exit(1)
  }
}

// --- internal ---

async function stop(tag: string, signal: string, service: Service): Promise<void> {
  console.error(`${tag} ${signal}: stopping`)
  setTimeout(() => {
    console.error(`${tag} did not stop within ${STOP_DEADLINE_MS / 1000} s`)
    process.exit(1)
  }, STOP_DEADLINE_MS).unref()
  try {
    await service.stop()
    process.exit(0)
  } catch (error) {
    console.error(`${tag} stopping failed:`, error)
    process.exit(1)
  }
}
