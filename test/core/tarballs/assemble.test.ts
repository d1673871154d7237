import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { assembleTarball } from '#core/tarballs/assemble.ts'
import { MAX_IMAGE_LAYERS } from '#core/tarballs/manifest.ts'
import type { TarballWriter } from '#core/tarballs/store.ts'
import { layerOf } from '#test/support/versions.ts'
import { digestOf } from '#test/support/bytes.ts'

describe('assembling a tarball', () => {
  const image = { environment: 'my-env', version: 7, author: 'me', created: '2026-01-01T00:00:00.000Z', architecture: 'amd64', os: 'linux', env: [], baseConfig: {} }
  const assemble = (count: number) => {
    const written: number[] = []
    const writer: TarballWriter = {
      get position() {
        return written.reduce((sum, length) => sum + length, 0)
      },
      write: (chunk) => (written.push(chunk.length), Promise.resolve()),
      finish: () => Promise.resolve(),
      publish: () => Promise.reject(new Error('not asked for')),
      abort: () => Promise.resolve(),
    }
    const added = Array.from({ length: count }, (_, index) => layerOf({ [`file-${index}`]: 'x' })).map((bytes) => ({ digest: digestOf(bytes), size: bytes.length, open: () => Readable.from([bytes], { objectMode: false }) }))
    return { written, manifest: assembleTarball({ writer, reused: [], added, baseLayers: 1, baseImage: 'busybox', note: '', image }) }
  }

  it('takes as many layers as an Engine does', async () => {
    expect((await assemble(MAX_IMAGE_LAYERS).manifest).layers).toHaveLength(125)
  })

  it('refuses more before anything is written, and says what to do', async () => {
    const { manifest, written } = assemble(MAX_IMAGE_LAYERS + 1)
    await expect(manifest).rejects.toMatchObject({ code: 'image.too_many_layers', message: expect.stringMatching(/my-env-7\.tar would have 126 layers.* takes 125\. Start from an image with fewer layers/) })
    expect(written).toEqual([])
  })
})
