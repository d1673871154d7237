import { readFileSync } from 'node:fs'
import { globSync } from 'tinyglobby'
import { describe, expect, it } from 'vitest'
import { insertConfigTable } from '#core/config/table.ts'
import { canTransition, taskStates } from '#core/tasks/states.ts'

describe('docs', () => {
  it('the README has the configuration table of the schema (npm run docs writes it)', () => {
    const readme = readFileSync('README.md', 'utf8')
    expect(readme).toContain('| Key | Default | Meaning |')
    expect(readme).toBe(insertConfigTable(readme))
  })

  it('links lead to files that exist', () => {
    for (const file of ['README.md', ...globSync('docs/*.md')]) {
      for (const [, target = ''] of readFileSync(file, 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)) {
        const path = new URL(target, `file:///${file}`).pathname.slice(1)
        expect(() => readFileSync(path), `${file} → ${target}`).not.toThrow()
      }
    }
  })

  it('the picture of a task draws only transitions that exist, and every state has its meaning', () => {
    const text = readFileSync('docs/tasks.md', 'utf8')
    const arrows = [...text.matchAll(/^ {2}(\w+) --> (\w+)/gm)]
    expect(arrows.length).toBeGreaterThan(10)
    for (const [, from, to] of arrows) {
      const [source, target] = [taskStates.find((state) => state === from), taskStates.find((state) => state === to)]
      expect(source && target && canTransition(source, target), `${from} → ${to}`).toBe(true)
    }
    for (const state of taskStates) expect(text).toContain(`| \`${state}\` |`)
  })
})
