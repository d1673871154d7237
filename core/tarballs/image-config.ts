import { z } from 'zod'
import { labels } from '../paths.ts'

/** Who an image is, and what its containers run by themselves. */
export interface ImageIdentity {
  environment: string
  version: number
  author: string
  /** ISO 8601 UTC. */
  created: string
  architecture: string
  os: string
  variant?: string | undefined
  /** Environment variables of the container, `NAME=value`. */
  env: readonly string[]
  /** Run configuration of the image that the environment began with; `undefined` if that image is gone. */
  baseConfig: Record<string, unknown> | undefined
}

/** Of the run configuration, what belongs to an image and not to one container (opencontainers/image-spec `config.md`). */
const KEPT = ['User', 'ExposedPorts', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir', 'StopSignal', 'Shell', 'Healthcheck', 'OnBuild'] as const

/**
 * The image's configuration as we publish it, as JSON. A commit would keep the idle command, the host name and the labels of the
 * container; a version has those of the image that the environment began with, the environment variables of the container,
 * and labels that tell which version it is on any Engine.
 *
 * @param diffIds of all layers, lowest first
 */
export function imageConfig(image: ImageIdentity, diffIds: readonly string[]): string {
  const base = image.baseConfig ?? {}
  const kept = Object.fromEntries(KEPT.flatMap((key) => (isEmpty(base[key]) ? [] : [[key, base[key]]])))
  return JSON.stringify({
    architecture: image.architecture,
    os: image.os,
    ...(image.variant !== undefined && image.variant !== '' && { variant: image.variant }),
    created: image.created,
    author: image.author,
    config: {
      ...kept,
      ...(image.env.length > 0 && { Env: image.env }),
      Labels: { ...foreignLabels(base['Labels']), [labels.environment]: image.environment, [labels.version]: String(image.version) },
    },
    rootfs: { type: 'layers', diff_ids: diffIds },
  })
}

const publishedConfig = z.object({
  architecture: z.string(),
  os: z.string(),
  variant: z.string().nullish(),
  config: z.record(z.string(), z.unknown()).nullish(),
})

/** What of a published configuration goes on into a later version of the same environment, or of another. */
export function identityOf(config: string): Pick<ImageIdentity, 'architecture' | 'os' | 'variant' | 'env' | 'baseConfig'> {
  const { config: run, variant, ...platform } = publishedConfig.parse(JSON.parse(config))
  return { ...platform, variant: variant ?? undefined, env: z.array(z.string()).nullish().parse(run?.['Env']) ?? [], baseConfig: run ?? undefined }
}

// --- internal ---

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0) || (typeof value === 'object' && Object.keys(value).length === 0)
}

function foreignLabels(found: unknown): Record<string, string> {
  const all = z.record(z.string(), z.string()).nullish().parse(found) ?? {}
  return Object.fromEntries(Object.entries(all).filter(([key]) => !key.startsWith('hakuriver.')))
}
