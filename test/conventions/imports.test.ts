import { readFileSync } from 'node:fs'
import { globSync } from 'tinyglobby'
import { describe, expect, it } from 'vitest'

/** Room → rooms it may import from, beside itself. */
const ARROWS: Record<string, string[]> = {
  core: [],
  server: ['core'],
  routes: ['server', 'core'],
  runner: ['core'],
  cli: ['core'],
  simulator: ['core'],
}
const IMPORT_RE = /(?:from|import)\s*\(?\s*['"](?<target>[^'"]+)['"]/g

describe('import directions', () => {
  for (const [room, allowed] of Object.entries(ARROWS)) {
    it(`${room} imports only from ${[room, ...allowed].join(', ')}`, () => {
      // What configures the build is no part of the room.
      const files = globSync(`${room}/**/*.ts`, { ignore: ['**/nitro.config.ts'] })
      expect(files.length).toBeGreaterThan(0)
      const wrong = files.flatMap((file) => roomsImportedBy(file).filter((target) => target !== room && !allowed.includes(target)).map((target) => `${file} → ${target}`))
      expect(wrong).toEqual([])
    })
  }

  // Once its garbage collection has run, Node.js 20 never fires AbortSignal.any([…, AbortSignal.timeout(…)]): whoever waits for it waits for ever.
  it('makes no signal that Node.js 20 forgets', () => {
    const wrong = globSync('{core,server,routes,runner,cli,simulator}/**/*.ts').filter((file) => readFileSync(file, 'utf8').includes('AbortSignal.timeout'))
    expect(wrong).toEqual([])
  })

  it('leaves Docker to core/engine', () => {
    const wrong = globSync('{core,server,routes,runner,cli}/**/*.ts').filter((file) => !file.startsWith('core/engine/') && /from ['"]docker(?:ode|-modem)['"]/.test(readFileSync(file, 'utf8')))
    expect(wrong).toEqual([])
  })
})

function roomsImportedBy(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  return [...text.matchAll(IMPORT_RE)].flatMap(({ groups }) => {
    const target = groups?.['target'] ?? ''
    if (target.startsWith('#')) return target.startsWith('#nitro') ? [] : [target.slice(1).split('/')[0] ?? '']
    if (!target.startsWith('.')) return []
    const resolved = new URL(target, `file:///${file}`).pathname.slice(1)
    // Files of the root, such as package.json, belong to nobody.
    return resolved.includes('/') ? [resolved.split('/')[0] ?? ''] : []
  })
}
