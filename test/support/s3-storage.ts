import type { ClusterOptions } from './cluster.ts'
import { createTestBucket, type TestBucket } from './s3-bucket.ts'
import { startS3Server } from './s3-server.ts'

/** A bucket on a server of its own, and what a cluster needs to keep its tarballs there. */
export interface S3Storage {
  bucket: TestBucket
  cluster: Pick<ClusterOptions, 'config' | 'env'>
  close(): Promise<void>
}

export async function startS3Storage(): Promise<S3Storage> {
  const server = await startS3Server()
  const bucket = await createTestBucket(server)
  const { accessKeyId, secretAccessKey } = server.credentials
  return {
    bucket,
    cluster: {
      config: { storage: { url: `s3://${bucket.options.bucket}/${bucket.options.prefix.replace(/\/$/, '')}`, endpoint: server.endpoint } },
      env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    },
    async close() {
      await bucket.remove()
      await server.close()
    },
  }
}
