import { z } from 'zod'
import { readAnswer } from './answers.ts'
import type { EngineInfo } from './engine.ts'
import type { Transport } from './transport.ts'

const infoAnswer = z.object({
  ServerVersion: z.string(),
  Driver: z.string(),
  DriverStatus: z.array(z.array(z.string())).nullish(),
  SecurityOptions: z.array(z.string()).nullish(),
  CDISpecDirs: z.array(z.string()).nullish(),
  Architecture: z.string(),
  NCPU: z.number(),
  MemTotal: z.number(),
})

/** What the Engine tells of itself and of its machine. @throws `engine.unavailable` */
export async function readInfo(transport: Transport): Promise<EngineInfo> {
  const what = 'ask the Engine about itself'
  const info = readAnswer(infoAnswer, await transport.call({ method: 'GET', path: '/info', what }), what)
  return {
    version: info.ServerVersion,
    storageDriver: info.Driver,
    usesContainerdStore: (info.DriverStatus ?? []).some(([key, value]) => key === 'driver-type' && value === 'io.containerd.snapshotter.v1'),
    mapsUsers: (info.SecurityOptions ?? []).some((option) => /^name=(?:userns|rootless)\b/.test(option)),
    cdiDirectories: info.CDISpecDirs ?? [],
    architecture: info.Architecture,
    cores: info.NCPU,
    memoryBytes: info.MemTotal,
  }
}
