import { S3 } from '@aws-sdk/client-s3'
import { openS3Bucket, type S3Bucket, type S3Options } from '#core/tarballs/drivers/s3-bucket.ts'
import type { S3Server } from './s3-server.ts'

/** A bucket for one test, and what can be done to it behind the back of the store. */
export interface TestBucket {
  options: S3Options
  /** As the driver opens it; another endpoint for a proxy before the server. */
  open(options?: Partial<S3Options>): Promise<S3Bucket>
  names(): Promise<string[]>
  /** Keys of the uploads that are neither completed nor aborted. */
  uploads(): Promise<string[]>
  plant(key: string, content: string | Buffer): Promise<void>
  unplant(key: string): Promise<void>
  /** With all that is in it. Idempotent. */
  remove(): Promise<void>
}

/** Makes a bucket. Keys lie below a prefix, as a lab that shares a bucket has it. */
export async function createTestBucket({ endpoint, credentials }: S3Server): Promise<TestBucket> {
  count += 1
  const options: S3Options = { bucket: `test-${process.pid}-${count}`, prefix: 'lab/tarballs/', endpoint, region: 'us-east-1', pathStyle: true, credentials }
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  const client = new S3({ endpoint, region: options.region, forcePathStyle: true, credentials, requestChecksumCalculation: 'WHEN_REQUIRED' })
  const Bucket = options.bucket
  const target = (key: string) => ({ Bucket, Key: `${options.prefix}${key}` })
  const opened: S3Bucket[] = []
  let isThere = true
  await client.createBucket({ Bucket })

  const listUploads = async () => (await client.listMultipartUploads({ Bucket })).Uploads ?? []
  return {
    options,
    async open(changes = {}) {
      const bucket = await openS3Bucket({ ...options, ...changes })
      opened.push(bucket)
      return bucket
    },
    async names() {
      const { Contents = [] } = await client.listObjectsV2({ Bucket })
      return Contents.map(({ Key = '' }) => (Key.startsWith(options.prefix) ? Key.slice(options.prefix.length) : `outside the prefix: ${Key}`))
    },
    uploads: async () => (await listUploads()).map(({ Key = '' }) => Key.slice(options.prefix.length)),
    plant: async (key, content) => void (await client.putObject({ ...target(key), Body: Buffer.from(content) })),
    unplant: async (key) => void (await client.deleteObject(target(key))),
    async remove() {
      if (!isThere) return
      isThere = false
      for (;;) {
        const { Contents = [] } = await client.listObjectsV2({ Bucket, MaxKeys: 50 })
        if (Contents.length === 0) break
        await Promise.all(Contents.map(({ Key }) => client.deleteObject({ Bucket, Key })))
      }
      for (const { Key, UploadId } of await listUploads()) await client.abortMultipartUpload({ Bucket, Key, UploadId })
      await client.deleteBucket({ Bucket })
      for (const bucket of opened) bucket.close()
      client.destroy()
    },
  }
}

// --- internal ---

let count = 0
