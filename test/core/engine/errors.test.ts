import { describe, expect, it } from 'vitest'
import { connectionError, refusalError } from '#core/engine/errors.ts'
import { HakuError } from '#core/errors.ts'

describe('a refusal of the Engine', () => {
  it.each([
    [404, 'No such container: my-env', 'container.not_found'],
    [404, 'No such image: ghost:latest', 'image.not_found'],
    [404, 'pull access denied for ghost, repository does not exist or may require docker login', 'image.not_found'],
    [404, 'reference does not exist', 'image.not_found'],
    [404, 'network ghost not found', 'engine.not_found'],
    [409, 'Conflict. The container name "/my-env" is already in use by container "1"', 'container.name_taken'],
    [409, 'Container 1 is not running', 'container.not_running'],
    [409, 'Container 1 is paused, unpause the container before exec', 'container.not_running'],
    [409, 'conflict: unable to remove repository reference "a" (must force)', 'engine.conflict'],
    [400, 'invalid reference format', 'image.reference_invalid'],
    [400, 'invalid mount config for type "bind": bind source path does not exist: /ghost', 'engine.invalid'],
    [422, 'no', 'engine.invalid'],
    [501, 'not here', 'engine.invalid'],
    [500, 'write /var/lib/docker/tmp/1: no space left on device', 'storage.full'],
    [500, 'something broke', 'engine.failed'],
    [500, 'connection error: desc = "transport: dial unix /run/containerd/containerd.sock: connect: no such file"', 'engine.unavailable'],
    [503, 'going down', 'engine.unavailable'],
  ])('%i %j is %s, with its words', (status, words, code) => {
    const error = refusalError(status, `${words}\n`, 'do it')
    expect(error).toMatchObject({ code })
    expect(error.message).toContain(words.split('"')[0])
    expect(error.message).toContain('do it')
  })

  it('brings no control characters to a terminal', () => {
    expect(refusalError(500, '\u001B[2Jgone', 'do it').message).not.toContain('\u001B')
  })
})

describe('an error of the connection', () => {
  it.each(['ENOENT', 'ECONNREFUSED', 'EACCES', 'ECONNRESET', 'EPIPE', 'EAGAIN'])('%s names the socket and a cure', (code) => {
    const error = connectionError(Object.assign(new Error('low'), { code }), '/run/some.sock')
    expect(error).toMatchObject({ code: 'engine.unavailable' })
    expect(error.message).toContain('/run/some.sock')
    expect(error.message).toMatch(/docker/i)
  })

  it('is what it was if it is no error of a connection', () => {
    const own = new HakuError('tarball.damaged', 'the tarball is damaged')
    const other = new TypeError('a bug')
    expect([connectionError(own, '/s'), connectionError(other, '/s')]).toEqual([own, other])
  })
})
