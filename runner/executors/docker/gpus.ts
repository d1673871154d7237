import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TaskOrder } from '#core/api/schemas.ts'
import type { Config } from '#core/config/schema.ts'
import type { DeviceRequest, Engine } from '#core/engine/engine.ts'
import { errorMessage, systemErrorCode } from '#core/errors.ts'

const KIND = 'nvidia.com/gpu'

/** The GPUs of an order as its Engine wants them asked for. */
export async function deviceRequest({ gpus }: TaskOrder, engine: Pick<Engine, 'info'>, configured: Config['docker']['gpu_driver']): Promise<DeviceRequest | undefined> {
  if (gpus.length === 0) return undefined
  const driver = configured === 'auto' ? await findDriver(engine) : configured
  return { driver, ids: gpus.map(({ uuid }) => (driver === 'cdi' ? `${KIND}=${uuid}` : uuid)) }
}

/**
 * The images of NVIDIA ask for all GPUs by a variable, and where their runtime is the Engine's default it obeys. Its driver sets the variable
 * itself; in all other cases it must say none.
 */
export function gpuVariables(devices: DeviceRequest | undefined, hasGpus: boolean): Record<string, string> {
  return hasGpus && devices?.driver !== 'nvidia' ? { NVIDIA_VISIBLE_DEVICES: 'void' } : {}
}

// --- internal ---

/** CDI is asked only for what a file describes: an Engine that knows of CDI may have none for GPUs. */
async function findDriver(engine: Pick<Engine, 'info'>): Promise<DeviceRequest['driver']> {
  const { cdiDirectories } = await engine.info()
  const described = await Promise.all(cdiDirectories.map(describesGpus))
  return described.includes(true) ? 'cdi' : 'nvidia'
}

async function describesGpus(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch((error: unknown) => passOver(directory, error, []))
  const files = names.filter((name) => /\.(?:json|ya?ml)$/.test(name)).map((name) => join(directory, name))
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch((error: unknown) => passOver(file, error, ''))))
  return texts.some((text) => text.includes(KIND))
}

/** Engines name directories that need not be there. */
function passOver<T>(path: string, error: unknown, nothing: T): T {
  if (systemErrorCode(error) !== 'ENOENT') console.error(`[hakuriver] [runner] whether ${path} describes GPUs can not be seen, so they are not asked for through CDI because of it: ${errorMessage(error)}`)
  return nothing
}
