import { inspect } from 'node:util'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Config, configSchema } from '#core/config/schema.ts'
import { openS3Bucket, type S3Bucket, type S3Options } from '#core/tarballs/drivers/s3-bucket.ts'
import { copyRanges, LEAST_PART_BYTES, partBytes } from '#core/tarballs/drivers/s3-parts.ts'
import { probeS3 } from '#core/tarballs/drivers/s3-probe.ts'
import { createS3Driver } from '#core/tarballs/drivers/s3.ts'
import { openTarballStore } from '#core/tarballs/open-store.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { createTarballStore } from '#core/tarballs/tarball-store.ts'
import { manifestOf } from '#test/conformance/tarball-store.ts'
import { patterned } from '#test/support/bytes.ts'
import { createTestBucket, type TestBucket } from '#test/support/s3-bucket.ts'
import { type ProxiedRequest, s3Answer, type S3Proxy, startS3Proxy, type Verdict } from '#test/support/s3-proxy.ts'
import { type S3Server, startS3Server, whyNoS3Server } from '#test/support/s3-server.ts'

const MIB = 1024 ** 2
/** Three parts. */
const LARGE = 17 * MIB
const TWO_PARTS = 9 * MIB

const proxies: S3Proxy[] = []
async function proxy(target: string | undefined, judge: (request: ProxiedRequest) => Verdict | Promise<Verdict>): Promise<S3Proxy> {
  const started = await startS3Proxy(target, judge)
  proxies.push(started)
  return started
}
afterEach(async () => {
  for (const started of proxies.splice(0)) await started.close()
})

function storeOn(bucket: S3Bucket, ownerId: string, conditionalComplete = false): TarballStore {
  return createTarballStore(createS3Driver({ bucket, conditionalComplete }), ownerId)
}

async function publish(store: TarballStore, content: Buffer, version = 5): Promise<void> {
  const writer = await store.createWriter('env', version)
  try {
    for (let at = 0; at < content.length; at += MIB) await writer.write(content.subarray(at, at + MIB))
    await writer.finish()
    await writer.publish(manifestOf('env', version, content))
  } catch (error) {
    await writer.abort()
    throw error
  }
}

describe('an S3 server that', () => {
  const options = { bucket: 'lab', prefix: '', region: 'us-east-1', pathStyle: true, credentials: { accessKeyId: 'KEY', secretAccessKey: 'very-secret', sessionToken: 'token-secret' } }
  const failure = async (endpoint: string, ask = (bucket: S3Bucket): Promise<unknown> => bucket.list('')) => {
    const bucket = await openS3Bucket({ ...options, endpoint, attempts: 1 })
    const error = await ask(bucket).catch((reason: unknown) => reason)
    bucket.close()
    return error
  }

  it('overlooks conditions is refused before anything is written', async () => {
    const { endpoint } = await proxy(undefined, () => ({ status: 200 }))
    const error = await failure(endpoint, (bucket) => probeS3(bucket, 'me'))
    expect(error).toMatchObject({ code: 'storage.unavailable', message: expect.stringMatching(/4 writes of one key.*200 \(written\), 200 \(written\).*Two Hosts could overwrite/) })
  })

  it('refuses conditions is refused', async () => {
    const { endpoint } = await proxy(undefined, () => s3Answer(501, 'NotImplemented'))
    expect(await failure(endpoint, (bucket) => probeS3(bucket, 'me'))).toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('NotImplemented, HTTP 501') })
  })

  it('does not answer is told by its address', async () => {
    const { endpoint, close } = await startS3Proxy(undefined, () => 'cut')
    await close()
    expect(await failure(endpoint)).toMatchObject({ code: 'storage.unavailable', message: expect.stringMatching(new RegExp(`lab at ${endpoint}.*ECONNREFUSED.*storage\\.endpoint`)) })
  })

  it.each<[string, Verdict, string, RegExp]>([
    ['has no such bucket', s3Answer(404, 'NoSuchBucket'), 'storage.unavailable', /no such bucket.*storage\.url/],
    ['does not know the key', s3Answer(403, 'InvalidAccessKeyId'), 'storage.unavailable', /refuses the keys.*AWS_ACCESS_KEY_ID/],
    ['gives no rights', s3Answer(403, 'AccessDenied'), 'storage.unavailable', /AccessDenied.*right to list, read, write and delete/],
    ['is in another region', s3Answer(301, 'PermanentRedirect'), 'storage.unavailable', /storage\.region/],
    ['has another time', s3Answer(403, 'RequestTimeTooSkewed'), 'storage.unavailable', /clock/],
    ['is in trouble', s3Answer(503, 'SlowDown'), 'storage.unavailable', /SlowDown, HTTP 503.*later/],
    ['is full', s3Answer(403, 'QuotaExceeded'), 'storage.full', /is full \(QuotaExceeded\)/],
    ['is none', { status: 200, body: '<html>Welcome' }, 'storage.unavailable', /storage\.endpoint/],
  ])('%s is told so', async (_, verdict, code, message) => {
    const { endpoint } = await proxy(undefined, () => verdict)
    expect(await failure(endpoint)).toMatchObject({ code, message: expect.stringMatching(message) })
  })

  it('repeats what was sent never brings secrets into an error', async () => {
    const { endpoint } = await proxy(undefined, ({ headers }) => s3Answer(403, 'SignatureDoesNotMatch', `<CanonicalRequest>x-amz-security-token:${String(headers['x-amz-security-token'])}</CanonicalRequest>`))
    const error = await failure(endpoint)
    expect(error).toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('SignatureDoesNotMatch') })
    expect(inspect(error, { depth: 20, showHidden: true })).not.toMatch(/very-secret|token-secret/)
  })
})

describe('the parts of an upload', () => {
  it('hold 5 TiB, and little memory up to 58 GB', () => {
    const sizes = Array.from({ length: 10_000 }, (_, index) => partBytes(index + 1))
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(5 * 1024 ** 4)
    expect(Math.max(...sizes)).toBeLessThan(4 * 1024 ** 3)
    expect(sizes[2999]).toBe(32 * MIB)
    expect(sizes.slice(0, 3000).reduce((sum, size) => sum + size, 0)).toBeGreaterThan(58e9)
  })

  it.each([LEAST_PART_BYTES, LEAST_PART_BYTES + 1, 256 * MIB, 256 * MIB + 1, 123_456_789_012, 5 * 1024 ** 4])('that the server copies are neither too small nor too large for it: %d', (length) => {
    const ranges = copyRanges(length)
    expect(ranges.length).toBeLessThanOrEqual(2000)
    expect(ranges.map(({ start }) => start)).toEqual([0, ...ranges.slice(0, -1).map(({ end }) => end)])
    expect(ranges.at(-1)?.end).toBe(length)
    for (const { start, end } of ranges) {
      expect(end - start).toBeGreaterThanOrEqual(LEAST_PART_BYTES)
      expect(end - start).toBeLessThanOrEqual(5 * 1024 ** 3)
    }
  })
})

describe('the configuration of S3', () => {
  const parse = (storage: object): Config => configSchema.parse({ storage })

  it('needs keys in the environment', async () => {
    await expect(openTarballStore(parse({ url: 's3://lab' }), 'me', { environment: { AWS_ACCESS_KEY_ID: 'KEY' } })).rejects.toMatchObject({ code: 'config.invalid', message: expect.stringContaining('AWS_SECRET_ACCESS_KEY') })
  })

  it.each(['http://lab', 's3://', 's3:///x', 's3://Lab', 's3://lab/a b', 's3://lab/../x', 's3://lab//x', 's3://l', 's3://lab..x', '/srv/tarballs'])('refuses the URL %j', (url) => {
    const result = configSchema.safeParse({ storage: { url } })
    expect(result.error?.issues).toMatchObject([{ path: ['storage', 'url'], message: expect.stringContaining('s3://bucket/prefix') }])
  })

  it.each(['127.0.0.1:9000', 'ftp://s3', 'http://user:secret@s3', 'http://s3/path', 'http://s3?x=1'])('refuses the endpoint %j', (endpoint) => {
    expect(configSchema.safeParse({ storage: { endpoint } }).error?.issues).toMatchObject([{ path: ['storage', 'endpoint'] }])
  })

  it.each(['', 's3://lab', 's3://lab/', 's3://lab.example/some/where', 's3://lab/a_b-c.d/'])('takes the URL %j', (url) => {
    expect(parse({ url, endpoint: 'http://[::1]:9000/' }).storage.url).toBe(url)
  })
})

describe.skipIf(await whyNoS3Server())('tarballs on S3', () => {
  let server: S3Server
  let storage: TestBucket
  let direct: S3Bucket
  beforeAll(async () => {
    server = await startS3Server()
    return () => server.close()
  })
  beforeEach(async () => {
    storage = await createTestBucket(server)
    direct = await storage.open()
    return () => storage.remove()
  })

  const everything = async () => [...(await storage.names()), ...(await storage.uploads()).map((key) => `an upload of ${key}`)]
  async function through(judge: (request: ProxiedRequest) => Verdict | Promise<Verdict>, options: Partial<S3Options> = {}) {
    const { endpoint, requests } = await proxy(server.endpoint, judge)
    return { bucket: await storage.open({ endpoint, ...options }), requests }
  }
  /** As AWS does it, and Ceph does not: completing an upload keeps its condition. Each bucket is new, so a key that was let through once is taken. */
  const completed = new Set<string>()
  const keepConditions = async ({ method, path, headers }: ProxiedRequest): Promise<Verdict> => {
    const isCompletion = method === 'POST' && path.includes('uploadId=')
    if (!isCompletion || !headers['if-none-match']) return 'pass'
    const object = path.slice(0, path.indexOf('?'))
    const isTaken = completed.has(object)
    completed.add(object)
    return isTaken || (await storage.names()).includes(object.split('/').at(-1) ?? '') ? s3Answer(412, 'PreconditionFailed') : 'pass'
  }

  describe('the probe', () => {
    it('takes this server, whose completions overlook conditions, and leaves nothing', async () => {
      expect(await probeS3(direct, 'me')).toEqual({ conditionalComplete: false })
      expect(await everything()).toEqual([])
    })

    it('notices a server whose completions keep them', async () => {
      const { bucket } = await through(keepConditions)
      expect(await probeS3(bucket, 'me')).toEqual({ conditionalComplete: true })
      expect(await everything()).toEqual([])
    })

    it('is made when a store is opened for writing, as configured', async () => {
      const { bucket, endpoint, credentials } = storage.options
      const config = configSchema.parse({ storage: { url: `s3://${bucket}/lab/tarballs`, endpoint } })
      const environment = { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey }
      const store = await openTarballStore(config, 'me', { probe: true, environment })
      await publish(store, Buffer.from('content'))
      expect((await storage.names()).sort()).toEqual(['env-5.json', 'env-5.tar'])
      const refused = openTarballStore(config, 'me', { probe: true, environment: { ...environment, AWS_SECRET_ACCESS_KEY: 'wrong-secret' } })
      await expect(refused).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringMatching(/^(?!.*wrong-secret).*SignatureDoesNotMatch/) })
      const elsewhere = configSchema.parse({ storage: { url: 's3://no-such-bucket', endpoint } })
      await expect(openTarballStore(elsewhere, 'me', { probe: true, environment })).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('no such bucket') })
    })
  })

  describe.each([['by a claim', false], ['by a condition on completion', true]])('of many parts, published %s', (_, conditionalComplete) => {
    const judge = (request: ProxiedRequest) => (conditionalComplete ? keepConditions(request) : 'pass')

    it('are won by exactly one of two Hosts', async () => {
      const { bucket } = await through(judge)
      const contents = [patterned(LARGE, 1), patterned(LARGE + 1, 2)]
      const results = await Promise.allSettled(contents.map((content, index) => publish(storeOn(bucket, `host${index}`, conditionalComplete), content)))
      expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      const [loser] = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
      expect(loser).toMatchObject({ code: 'environment.busy', message: expect.stringContaining('env-5.tar') })
      const winner = contents[results.findIndex(({ status }) => status === 'fulfilled')]
      expect((await buffer(await storeOn(direct, 'me').read('env', 5))).equals(winner ?? Buffer.of())).toBe(true)
      expect((await everything()).sort()).toEqual(['env-5.json', 'env-5.tar'])
    })

    it('are whole or not there at all, wherever their Host dies', async () => {
      const content = patterned(TWO_PARTS, 3)
      const whole = await through(judge)
      await publish(storeOn(whole.bucket, 'me', conditionalComplete), content, 1000)
      const store = storeOn(direct, 'dead')
      await store.remove('env', 1000)
      const published = new Set<number>()
      // Even: the last request does not arrive. Odd: it does, and its answer comes too late.
      for (let death = 2; death <= 2 * whole.requests.length + 1; death += 1) {
        const last = Math.floor(death / 2)
        const { bucket } = await through((request) => (request.number < last ? judge(request) : request.number === last && death % 2 === 1 ? 'lose' : 'cut'), { attempts: 1 })
        await publish(storeOn(bucket, 'dead', conditionalComplete), content, death).catch(() => undefined)
        for (const { version } of await store.list()) {
          published.add(version)
          expect((await store.readManifest('env', version))?.size).toBe(content.length)
          expect((await buffer(await store.read('env', version))).equals(content)).toBe(true)
        }
        await store.sweep()
        // One whose manifest arrived, and its answer did not, is shown from now on.
        if ((await store.list()).length > 0) published.add(death)
        expect((await everything()).sort()).toEqual(published.has(death) ? [`env-${death}.json`, `env-${death}.tar`] : [])
        await store.remove('env', death)
      }
      expect(published.size).toBeGreaterThan(0)
      expect(published.size).toBeLessThan(whole.requests.length)
    })

    it('come through whichever answer is lost', async () => {
      const content = patterned(TWO_PARTS, 4)
      const whole = await through(judge)
      await publish(storeOn(whole.bucket, 'me', conditionalComplete), content, 1000)
      const store = storeOn(direct, 'me')
      await store.remove('env', 1000)
      for (let lost = 1; lost <= whole.requests.length; lost += 1) {
        const { bucket } = await through((request) => (request.number === lost ? 'lose' : judge(request)))
        await publish(storeOn(bucket, 'me', conditionalComplete), content, lost)
        expect((await buffer(await store.read('env', lost))).equals(content)).toBe(true)
        await store.sweep()
        expect((await everything()).sort()).toEqual([`env-${lost}.json`, `env-${lost}.tar`])
        await store.remove('env', lost)
      }
    })
  })

  describe('at whose key somebody else is at the same moment', () => {
    /** AWS tells it by 409. */
    const isFor = (key: string, { method, path }: ProxiedRequest) => ['PUT', 'POST'].includes(method) && path.includes(`/${key}?`) && !path.includes('uploads') && !path.includes('partNumber')

    it('are tried again where the content is at hand', async () => {
      let conflicts = 0
      const { bucket } = await through((request) => (isFor('env-5.tar', request) && (conflicts += 1) <= 2 ? s3Answer(409, 'ConditionalRequestConflict') : 'pass'))
      await publish(storeOn(bucket, 'me'), Buffer.from('content'))
      expect(conflicts).toBe(3)
      expect((await everything()).sort()).toEqual(['env-5.json', 'env-5.tar'])
    })

    it('are given up where it is not, and leave nothing', async () => {
      const { bucket } = await through((request) => (isFor('env-5.tar', request) ? s3Answer(409, 'ConditionalRequestConflict') : 'pass'))
      await expect(publish(storeOn(bucket, 'me', true), patterned(TWO_PARTS, 8))).rejects.toMatchObject({ code: 'environment.busy', message: expect.stringContaining('Package the environment again') })
      expect(await everything()).toEqual([])
    })
  })

  it('are swept by their own Host only, uploads and all', async () => {
    const content = patterned(LARGE, 5)
    const dead = await storeOn(direct, 'dead').createWriter('env', 6)
    await dead.write(content)
    const alive = await storeOn(direct, 'alive').createWriter('env', 7)
    await alive.write(content)
    expect(await storeOn(direct, 'me').list()).toEqual([])
    expect((await storage.uploads()).sort()).toEqual(['env-6.tar', 'env-7.tar'])
    expect(await storeOn(direct, 'dead').sweep()).toEqual([expect.stringMatching(/^\.tmp-dead-.*-env-6\.tar$/)])
    expect(await storage.uploads()).toEqual(['env-7.tar'])
    await alive.finish()
    await alive.publish(manifestOf('env', 7, content))
    expect((await everything()).sort()).toEqual(['env-7.json', 'env-7.tar'])
    // One that was taken for dead, and was not.
    await expect(dead.finish()).rejects.toMatchObject({ code: 'storage.unavailable' })
    await dead.abort()
  })

  it('take little memory while they are written', async () => {
    const zeros = Buffer.alloc(MIB)
    const store = storeOn(direct, 'me')
    await publish(store, Buffer.alloc(LARGE), 4)
    const before = process.memoryUsage().rss
    let most = 0
    const writer = await store.createWriter('env', 5)
    for (let count = 0; count < 300; count += 1) {
      await writer.write(zeros)
      most = Math.max(most, process.memoryUsage().rss - before)
    }
    await writer.finish()
    await writer.abort()
    expect(most).toBeLessThan(120 * MIB)
  })

  describe('that are read', () => {
    const content = patterned(3 * MIB, 6)
    const isRead = ({ method }: ProxiedRequest) => method === 'GET'
    beforeEach(() => publish(storeOn(direct, 'me'), content))

    it('go on where the connection broke', async () => {
      let cuts = 0
      const { bucket, requests } = await through((request) => (isRead(request) && (cuts += 1) <= 3 ? { cutAfter: 700_000 } : 'pass'), { attempts: 1 })
      const read = await buffer(await storeOn(bucket, 'me').read('env', 5, { start: 100, end: 3_000_000 }))
      expect(read.equals(content.subarray(100, 3_000_000))).toBe(true)
      const ranges = requests.filter(isRead).map(({ headers }) => headers.range)
      expect(ranges).toHaveLength(4)
      expect(ranges).toEqual(expect.arrayContaining(['bytes=100-2999999', 'bytes=700100-2999999', 'bytes=2100100-2999999']))
    })

    it('end with an error once nothing comes any more', async () => {
      let reads = 0
      const { bucket } = await through((request) => (isRead(request) ? ((reads += 1) === 1 ? { cutAfter: 1000 } : { cutAfter: 0 }) : 'pass'), { attempts: 1 })
      await expect(buffer(await storeOn(bucket, 'me').read('env', 5))).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('env-5.tar') })
    })

    it('are never two of them stitched together', async () => {
      const { bucket } = await through((request) => (isRead(request) ? { cutAfter: 1_000_000 } : 'pass'), { attempts: 1 })
      const stream = await storeOn(bucket, 'me').read('env', 5)
      await storage.plant('env-5.tar', Buffer.alloc(content.length))
      await expect(buffer(stream)).rejects.toMatchObject({ code: 'tarball.not_found', message: expect.stringContaining('replaced') })
    })

    it('let go of the connection when nobody reads on', async () => {
      const { bucket } = await through(() => 'pass')
      const stream = await storeOn(bucket, 'me').read('env', 5)
      const closed = new Promise((resolve) => stream.once('close', resolve))
      stream.destroy()
      await closed
      expect(stream.errored).toBeNull()
    })
  })

  it('are reached through the driver as by any unstorage driver', async () => {
    await publish(storeOn(direct, 'me'), Buffer.from('content'))
    const driver = createS3Driver({ bucket: direct })
    expect(await driver.getItem('env-5.tar')).toBe('content')
    expect(await driver.hasItem('env-6.tar', {})).toBe(false)
    expect((await driver.getKeys('', {})).sort()).toEqual(['env-5.json', 'env-5.tar'])
    for (const key of ['../secret', 'a:b', 'a/b', '..', '']) await expect(driver.stat(key)).rejects.toMatchObject({ code: 'internal.error' })
  })

  it('of thousands are all listed', async () => {
    const keys = Array.from({ length: 1100 }, (_, index) => `env-${index}.tar`)
    for (let at = 0; at < keys.length; at += 50) await Promise.all(keys.slice(at, at + 50).map((key) => storage.plant(key, 'x')))
    expect((await storeOn(direct, 'me').listVersions('env')).map(({ version }) => version)).toEqual(keys.map((_, index) => 1099 - index))
  })

  // The last: from here on no bucket takes more.
  it('that do not fit are told as a full storage, and leave nothing', async () => {
    await server.limitBuckets(10 * MIB)
    await expect(publish(storeOn(direct, 'me'), patterned(LARGE, 7))).rejects.toMatchObject({ code: 'storage.full', message: expect.stringContaining('QuotaExceeded') })
    expect(await everything()).toEqual([])
  })
})
