import { buffer, text } from 'node:stream/consumers'
import { TEMPORARY_PREFIX } from '../../paths.ts'
import type { StreamingDriver } from '../driver.ts'
import type { S3Bucket } from './s3-bucket.ts'
import { discardS3File } from './s3-discard.ts'
import { openS3Object } from './s3-reader.ts'
import { createS3File } from './s3-writer.ts'

export interface S3DriverOptions {
  bucket: S3Bucket
  /** What `probeS3` found. Left out: what works with every server that keeps conditions at all. */
  conditionalComplete?: boolean
}

/** A bucket on S3, or what lies below a prefix in it. It is never created here. */
export function createS3Driver({ bucket, conditionalComplete = false }: S3DriverOptions): StreamingDriver {
  const stat = async (key: string) => {
    const found = await bucket.head(key)
    return found && found.note.kind !== 'claim' ? { size: found.size } : undefined
  }
  const listEntries = async (prefix = '') => {
    const entries = await bucket.list(prefix)
    // A listing tells no metadata. Claims are empty, and hardly anything else under a final key is.
    const shown = await Promise.all(entries.map(async ({ key, size }) => size > 0 || key.startsWith(TEMPORARY_PREFIX) || (await stat(key)) !== undefined))
    return entries.filter((_, index) => shown[index])
  }

  return {
    name: 's3',
    listEntries,
    stat,
    openRange: (key, range) => openS3Object(bucket, key, range),
    getKeys: async () => (await listEntries()).map(({ key }) => key),
    hasItem: async (key) => (await stat(key)) !== undefined,
    getMeta: async (key) => (await stat(key)) ?? null,
    getItem: async (key) => ((await stat(key)) ? text(await openS3Object(bucket, key)) : null),
    getItemRaw: async (key) => ((await stat(key)) ? buffer(await openS3Object(bucket, key)) : null),
    createFile: (keys, start) => createS3File({ bucket, keys, start, conditionalComplete }),
    removeItem: (key) => bucket.remove(key),
    discard: (temporaryKey) => discardS3File(bucket, temporaryKey),
    // A bucket tells of changes by a listing alone, which costs as much as what a stamp is to spare.
    stamp: () => Promise.resolve(String(Math.floor(Date.now() / 1000))),
    async freeSpace() {
      await bucket.assertThere()
      return undefined
    },
    dispose: () => bucket.close(),
  }
}
