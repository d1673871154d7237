import { spawn } from 'node:child_process'
import { hasImage, importImage } from '../../build/engine-api.mjs'
import { findProgram, run } from '../../build/programs.mjs'
import { createImageFolder } from '../../build/images.mjs'

const BUSYBOX = 'busybox:latest'

/** Makes `busybox:latest` on an Engine that lacks it: a static busybox with all its applets, no `which`. */
export async function ensureBusybox(socketPath: string): Promise<string> {
  if (await hasImage(socketPath, BUSYBOX)) return BUSYBOX
  const folder = await createImageFolder(findProgram('busybox') ?? '/bin/busybox')
  try {
    await importFolder(socketPath, folder, BUSYBOX)
  } finally {
    await run('rm', ['-rf', folder])
  }
  return BUSYBOX
}

/** Imports a directory as an image. */
export async function importFolder(socketPath: string, folder: string, reference: string, changes: string[] = []): Promise<void> {
  const tar = spawn('tar', ['-C', folder, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
  await importImage(socketPath, tar.stdout, reference, changes)
}
