import { describe, expect, it } from 'vitest'
import { assertEnvironmentName, isEnvironmentName, isNodeName, MAX_VERSION, parseEnvironmentReference, printable, quote } from '#core/names.ts'
import { parseTarballFileName, tarballFileName } from '#core/paths.ts'

describe('environment names', () => {
  it.each(['my-python-env', 'python-3.9-ml', 'cuda-11.8-tf', 'ab', 'a1', 'a__b', 'a--b', 'x'.repeat(63), '42'])('takes %s', (name) => {
    expect(isEnvironmentName(name)).toBe(true)
  })

  it.each(['', 'a', 'My_Env', '-x', 'x-', '.x', 'a/b', 'a..b', 'a___b', 'x y', 'x'.repeat(64), 'ünïcode', 'a\0b', 'a\nb', '../../etc/x', 'a:b'])('refuses %j', (name) => {
    expect(isEnvironmentName(name)).toBe(false)
    expect(() => assertEnvironmentName(name)).toThrow(expect.objectContaining({ code: 'environment.name_invalid' }))
  })
})

describe('tarball file names', () => {
  it('round-trips', () => {
    expect(parseTarballFileName(tarballFileName('my-env-gpu', 1_700_000_000))).toEqual({ environment: 'my-env-gpu', version: 1_700_000_000 })
  })

  it('takes only the last number for the version', () => {
    expect(parseTarballFileName('env-1700000000-1700000001.tar')).toEqual({ environment: 'env-1700000000', version: 1_700_000_001 })
  })

  it.each(['my-env.tar', 'My-1700000000.tar', '.tmp-x-env-1.tar', 'env-1.json', '.nfs0001', 'env-12a.tar', '-1.tar', 'env-007.tar', 'env-1000000000000.tar', 'env-999999999999999.tar'])('does not know %s', (name) => {
    expect(parseTarballFileName(name)).toBeUndefined()
  })
})

describe('version numbers', () => {
  it('have 12 digits at most, in references and in file names', () => {
    expect(parseTarballFileName(`env-${MAX_VERSION}.tar`)).toEqual({ environment: 'env', version: MAX_VERSION })
    expect(parseEnvironmentReference(`env@${MAX_VERSION}`)).toEqual({ name: 'env', version: MAX_VERSION })
  })

  it.each(['1000000000000', '01700000000', '00', '-1', '1.0', '1e3', ''])('are not %j', (text) => {
    expect(() => parseEnvironmentReference(`env@${text}`)).toThrow(expect.objectContaining({ code: 'usage.invalid' }))
  })
})

describe('names in messages', () => {
  it('shows control characters instead of obeying them', () => {
    expect(printable('a\u001B]0;pwn\u0007b')).toBe(String.raw`a\u001b]0;pwn\u0007b`)
    expect(quote('a"b')).toBe(String.raw`"a\"b"`)
    expect(quote('x'.repeat(200)).length).toBeLessThan(90)
  })

  it.each([['node1', true], ['node_1.lab', true], ['', false], ['-a', false], ['a b', false], ['a:b', false]])('node name %j: %s', (name, valid) => {
    expect(isNodeName(name)).toBe(valid)
  })
})
