/** What our objects tell about themselves, in the metadata of S3. */
export interface ObjectNote {
  /**
   * - `value`: a whole one;
   * - `marker`: under a temporary key, of what is being written;
   * - `claim`: holds a final key free from others until its value is there. Shown to nobody.
   *
   * `undefined`: made by other tools.
   */
  kind?: 'value' | 'marker' | 'claim' | undefined
  /** Unique for each value that is written: so its writer recognises it when an answer was lost. */
  writer?: string | undefined
  /** In a marker: the upload under way, … */
  upload?: string | undefined
  /** … and the key that it is for. */
  final?: string | undefined
}

/** As S3 stores it. */
export function toMetadata(note: ObjectNote): Record<string, string> {
  return Object.fromEntries(FIELDS.flatMap((field) => (note[field] === undefined ? [] : [[`${PREFIX}${field}`, note[field]]])))
}

/** As S3 gives it back. */
export function noteOf(metadata: Record<string, string> = {}): ObjectNote {
  const { kind, ...rest } = Object.fromEntries(FIELDS.map((field) => [field, metadata[`${PREFIX}${field}`]]))
  return { ...rest, kind: KINDS.find((known) => known === kind) }
}

// --- internal ---

const PREFIX = 'hakuriver-'
const FIELDS = ['kind', 'writer', 'upload', 'final'] as const
const KINDS = ['value', 'marker', 'claim'] as const
