import type { FileChange, VersionDiff } from '#core/api/schemas.ts'
import { assertEnvironmentName, parseVersionNumber, printable } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { defineCommand } from '../../framework/command.ts'
import { readOption } from '../../framework/options.ts'
import { formatTable, printJson, printLine } from '../../framework/output.ts'
import { wholeNumber } from '../../values/numbers.ts'

/** Layers of gigabytes are read for it. */
const TIMEOUT_MS = 30 * 60 * 1000

export const diffVersions = defineCommand({
  description: 'Show which files and packages differ between two versions',
  notes: `Without versions the one before the current one is compared with the current one; a single one is compared with the current one.
Nothing is started for it: the layers in the tarballs are read.`,
  example: 'hakuriver env diff my-env 1700000000',
  args: {
    name: { type: 'positional', description: 'Name of the environment' },
    from: { type: 'positional', required: false, description: 'Version to compare' },
    to: { type: 'positional', required: false, description: 'Version to compare it with' },
    limit: { type: 'string', valueHint: 'number', description: 'List so many files at most, 1000 unless given' },
  },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const query = {
      ...(args.from !== undefined && { from: parseVersionNumber(args.from) }),
      ...(args.to !== undefined && { to: parseVersionNumber(args.to) }),
      limit: readOption('--limit', args.limit, wholeNumber({ min: 0, max: 100_000 })),
    }
    const { connect } = await import('../../framework/connection.ts')
    const diff = await connect(args).client.call('diffVersions', { params: { name: args.name }, query, timeoutMs: TIMEOUT_MS })
    await (args.json ? printJson(diff) : printLine(describe(diff)))
  },
})

// --- internal ---

const SIGNS: Record<FileChange['change'], string> = { added: '+', changed: '~', deleted: '-' }

function describe({ environment, from, to, files, packages, totals, truncated }: VersionDiff): string {
  const parts = [`${environment}: ${from} → ${to}`]
  if (packages.length > 0) parts.push(formatTable(['MANAGER', 'PACKAGE', String(from), String(to)], packages.map(({ manager, name, before, after }) => [manager, name, before, after])))
  if (files.length > 0) parts.push(files.map(describeFile).join('\n'))
  if (truncated) parts.push(`… and more files: see --limit`)
  parts.push((['added', 'changed', 'deleted'] as const).map((change) => `${totals[change].files} ${change} (${formatSize(totals[change].bytes)})`).join(', '))
  return parts.join('\n\n')
}

function describeFile({ path, change, type, before, after }: FileChange): string {
  const size = before !== null && after !== null && before !== after ? `${formatSize(before)} → ${formatSize(after)}` : formatSize(after ?? before ?? 0)
  return `${SIGNS[change]} /${printable(path)}${type === 'directory' ? '/' : ''}  ${type === 'file' ? size : type}`
}
