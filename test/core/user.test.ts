import { expect, it } from 'vitest'
import { decodeUser, encodeUser } from '#core/user.ts'

it.each(['ada', 'DOM\\ada', 'jürgen', 'a b', '\u001B[2J', '李'])('%j goes through a header and back', (name) => {
  expect(encodeUser(name)).toMatch(/^[\x21-\x7E]+$/)
  expect(decodeUser(encodeUser(name))).toBe(name)
})

it('is cut to what is stored, between characters', () => {
  expect(decodeUser(encodeUser('😀'.repeat(200))).length).toBeLessThanOrEqual(128)
})

it.each([[undefined], [''], ['%E0%A4%A'], [['a', 'b']]])('%j is nobody', (header) => {
  expect(decodeUser(header)).toBe('')
})
