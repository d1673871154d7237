import type { Config } from '../config/schema.ts'
import { HakuError } from '../errors.ts'
import { sharedPaths } from '../paths.ts'
import { openS3Bucket, type S3Options } from './drivers/s3-bucket.ts'
import { probeS3 } from './drivers/s3-probe.ts'
import { parseS3Url } from './drivers/s3-url.ts'
import { createS3Driver } from './drivers/s3.ts'
import { createFileSystemStore } from './file-system-store.ts'
import type { TarballStore } from './store.ts'
import { createTarballStore } from './tarball-store.ts'

export interface OpenStoreOptions {
  /** Whether the storage is tried before it is used: for who writes. Costs some requests to S3, and nothing in a directory. */
  probe?: boolean
  /** Where the keys of S3 are. */
  environment?: NodeJS.ProcessEnv
}

/**
 * The tarball store that the configuration names: a directory on the shared storage, or S3. `ownerId` tells whose temporary things are ours.
 *
 * @throws `config.invalid` without keys; `storage.unavailable` if `probe` finds that it is not there, or not safe
 */
export async function openTarballStore(config: Config, ownerId: string, { probe = false, environment = process.env }: OpenStoreOptions = {}): Promise<TarballStore> {
  const { tarballs: directory, mark } = sharedPaths(config.paths.shared_dir, config.docker.container_dir)
  if (config.storage.url === '') return createFileSystemStore({ directory, ownerId, mark })
  const bucket = await openS3Bucket(s3Options(config.storage, environment))
  const abilities = probe ? await probeS3(bucket, ownerId) : {}
  return createTarballStore(createS3Driver({ bucket, ...abilities }), ownerId)
}

// --- internal ---

function s3Options({ url, endpoint, region, path_style }: Config['storage'], environment: NodeJS.ProcessEnv): S3Options {
  const place = parseS3Url(url)
  if (!place) throw new HakuError('config.invalid', `storage.url ${url} is not s3://bucket/prefix.`)
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken } = environment
  if (!accessKeyId || !secretAccessKey) throw new HakuError('config.invalid', `storage.url names ${url}, and there are no keys for it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of this process.`)
  return { ...place, endpoint, region, pathStyle: path_style && endpoint !== '', credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) } }
}
