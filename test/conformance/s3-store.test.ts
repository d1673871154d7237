import { beforeAll, describe } from 'vitest'
import { createS3Driver } from '#core/tarballs/drivers/s3.ts'
import { createTarballStore } from '#core/tarballs/tarball-store.ts'
import { createTestBucket } from '#test/support/s3-bucket.ts'
import { type S3Server, startS3Server, whyNoS3Server } from '#test/support/s3-server.ts'
import { tarballStoreSuite } from './tarball-store.ts'

describe.skipIf(await whyNoS3Server())('on an S3 server', () => {
  let server: S3Server
  beforeAll(async () => {
    server = await startS3Server()
    return () => server.close()
  })

  tarballStoreSuite('S3', async () => {
    const storage = await createTestBucket(server)
    const bucket = await storage.open()
    let isGone = false
    return {
      open: (ownerId) => createTarballStore(createS3Driver({ bucket }), ownerId),
      names: () => storage.names(),
      plant: (name, content) => storage.plant(name, content),
      unplant: (name) => storage.unplant(name),
      async takeAway() {
        await storage.remove()
        isGone = true
      },
      async close() {
        const left = isGone ? [] : [...(await storage.names()), ...(await storage.uploads()).map((key) => `an upload of ${key}`)]
        await storage.remove()
        return left
      },
    }
  })
})
