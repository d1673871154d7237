import { homedir, hostname } from 'node:os'
import { configSchema } from './schema.ts'

const TABLE_RE = /(<!-- configuration -->\n)[\s\S]*?(<!-- \/configuration -->)/

/** `markdown` with the table between its two marks. */
export function insertConfigTable(markdown: string): string {
  return markdown.replace(TABLE_RE, (_, start: string, end: string) => `${start}${configTable()}\n${end}`)
}

// --- internal ---

/** What depends on the machine is named, not shown: the table is the same everywhere. */
function showDefault(value: unknown): string {
  if (value === '') return 'empty'
  if (value === hostname()) return "the machine's name"
  return `\`${JSON.stringify(value).replace(homedir(), '~')}\``
}

/** The table of all configuration keys in Markdown, from the schema. */
function configTable(): string {
  const defaults = configSchema.parse({})
  const rows = Object.entries(configSchema.shape).flatMap(([section, { def }]) =>
    Object.entries(def.innerType.shape).map(([key, schema]) => {
      const value: unknown = Object.entries(defaults[section as keyof typeof defaults]).find(([name]) => name === key)?.[1]
      return `| \`${section}.${key}\` | ${showDefault(value)} | ${schema.description ?? ''} |`
    }),
  )
  return ['| Key | Default | Meaning |', '|---|---|---|', ...rows].join('\n')
}
