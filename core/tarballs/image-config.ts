import { z } from 'zod'
import { HakuError } from '../errors.ts'
import { labels } from '../paths.ts'

/** Who an image is, and what its containers run by themselves. */
export interface ImageIdentity {
  environment: string
  version: number
  repoTag: string
  /** Run configuration of the image that the container was made from; `undefined` if that image is gone. */
  baseConfig: Record<string, unknown> | undefined
  author: string
  /** ISO 8601 UTC. */
  created: string
}

const savedConfig = z.looseObject({
  architecture: z.string(),
  os: z.string(),
  variant: z.string().optional(),
  config: z.record(z.string(), z.unknown()).nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)) }),
  history: z.array(z.unknown()).optional(),
})

/** Of the run configuration, what belongs to an image and not to one container (opencontainers/image-spec `config.md`). */
const KEPT = ['User', 'ExposedPorts', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir', 'StopSignal', 'Shell', 'Healthcheck', 'OnBuild'] as const

/**
 * The image's configuration as we publish it. A commit would keep the idle command, the host name and the labels of the
 * container; a version has those of the image that the environment began with, the environment variables of the container,
 * and labels that tell which version it is on any Engine.
 *
 * @throws `tarball.damaged`
 */
export function rewriteConfig(saved: unknown, image: ImageIdentity) {
  const result = savedConfig.safeParse(saved)
  if (!result.success) throw new HakuError('tarball.damaged', `The Docker Engine sent an image configuration that is not valid: ${z.prettifyError(result.error)}`)
  const { architecture, os, variant, config, rootfs, history } = result.data
  const base = image.baseConfig ?? {}
  const kept = Object.fromEntries(KEPT.flatMap((key) => (isEmpty(base[key]) ? [] : [[key, base[key]]])))
  return {
    architecture,
    os,
    ...(variant !== undefined && { variant }),
    created: image.created,
    author: image.author,
    config: {
      ...kept,
      ...(!isEmpty(config?.['Env']) && { Env: config?.['Env'] }),
      Labels: { ...foreignLabels(base['Labels']), [labels.environment]: image.environment, [labels.version]: String(image.version) },
    },
    rootfs,
    ...(history && { history }),
  }
}

// --- internal ---

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0) || (typeof value === 'object' && Object.keys(value).length === 0)
}

function foreignLabels(found: unknown): Record<string, string> {
  const all = z.record(z.string(), z.string()).nullish().parse(found) ?? {}
  return Object.fromEntries(Object.entries(all).filter(([key]) => !key.startsWith('hakuriver.')))
}
