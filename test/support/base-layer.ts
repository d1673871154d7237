import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { VersionOrder } from '#core/api/schemas.ts'
import { tarballFileName } from '#core/paths.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { importImage } from '../../build/engine-api.mjs'
import { createImageFolder } from '../../build/images.mjs'
import { findProgram } from '../../build/programs.mjs'
import { layerOf } from './versions.ts'

/** The plain tar of a layer with a whole busybox in it, another one for each `mark`. */
export async function createBaseLayer(mark: string): Promise<Buffer> {
  const folder = await createImageFolder(findProgram('busybox') ?? '/bin/busybox')
  try {
    const tar = spawn('tar', ['-C', folder, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
    // What marks it stands before the rest, without an end of its own.
    const [head, body] = [layerOf({ 'etc/mark': mark }), await buffer(tar.stdout)]
    return Buffer.concat([head.subarray(0, head.length - END_BYTES), body])
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** An image of just this layer, as if somebody had pulled it. */
export async function importBase(socketPath: string, layer: Buffer, reference: string): Promise<void> {
  await importImage(socketPath, Readable.from(layer, { objectMode: false }), reference)
}

/** What the Host tells a node about the version. */
export function orderOf({ environment, version, configDigest, manifestDigest }: VersionManifest): VersionOrder {
  return { environment, version, fileName: tarballFileName(environment, version), configDigest, manifestDigest }
}

// --- internal ---

/** Two empty blocks. */
const END_BYTES = 1024
