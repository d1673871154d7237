import type { TarballEntry, TarballStore } from '#core/tarballs/store.ts'
import type { VersionMarks } from './marks.ts'

/** The version that was meant, by what the storage and the marks say of it. */
export interface Choice<Details> {
  entry: TarballEntry
  details: Details
}

export interface ChoicesOptions<Details> {
  tarballs: Pick<TarballStore, 'stamp'>
  marks: Pick<VersionMarks, 'revision'>
  /** Looks for it: lists, and reads manifests. @throws what keeps it from being used */
  look(environment: string, version: number | undefined): Promise<Choice<Details>>
}

/** Remembers what was chosen for as long as nothing has changed on the storage or in the marks: a thousand submissions a second ask for the same. */
export interface Choices<Details> {
  /** `version` left out: the current one. @throws as `look` */
  find(environment: string, version: number | undefined): Promise<Choice<Details>>
}

const MAX_KNOWN = 1000

export function createChoices<Details>({ tarballs, marks, look }: ChoicesOptions<Details>): Choices<Details> {
  const known = new Map<string, Known<Details>>()
  const turns = new Map<string, Turn<Details>>()

  async function findNow(key: string, environment: string, version: number | undefined): Promise<Choice<Details>> {
    const before = known.get(key)
    const isSame = before !== undefined && (await tarballs.stamp(environment, before.choice.entry.version)) === before.stamp && marks.revision() === before.revision
    if (isSame) return before.choice
    known.delete(key)
    const choice = await look(environment, version)
    await remember(key, choice, { environment, version })
    return choice
  }

  /** Only what is found once more after the stamp was taken is what the stamp stands for. */
  async function remember(key: string, choice: Choice<Details>, { environment, version }: { environment: string; version: number | undefined }): Promise<void> {
    const revision = marks.revision()
    const stamp = await tarballs.stamp(environment, choice.entry.version)
    if (stamp === undefined) return
    const again = await look(environment, version)
    if (again.entry.version !== choice.entry.version || marks.revision() !== revision) return
    if (known.size >= MAX_KNOWN) known.clear()
    known.set(key, { choice: again, stamp, revision })
  }

  function begin(key: string, work: () => Promise<Choice<Details>>): Promise<Choice<Details>> {
    const turn: Turn<Details> = { running: work(), next: undefined }
    turns.set(key, turn)
    const forget = () => {
      if (turns.get(key) === turn && !turn.next) turns.delete(key)
    }
    turn.running.then(forget, forget)
    return turn.running
  }

  return {
    find(environment, version) {
      const key = `${environment}@${version ?? ''}`
      const work = () => findNow(key, environment, version)
      const turn = turns.get(key)
      if (!turn) return begin(key, work)
      // One look for all who come during another one. That other one may have missed what they already know of.
      const ended = turn.running.then(() => undefined, () => undefined)
      turn.next ??= ended.then(() => begin(key, work))
      return turn.next
    },
  }
}

// --- internal ---

interface Known<Details> {
  choice: Choice<Details>
  stamp: string
  revision: number
}

interface Turn<Details> {
  running: Promise<Choice<Details>>
  next: Promise<Choice<Details>> | undefined
}
