import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '#core/config/load.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-config-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

function load(text: string, environment: Record<string, string> = {}) {
  const file = join(directory, 'config.toml')
  writeFileSync(file, text)
  return loadConfig(file, environment).config
}

function failure(text: string, environment: Record<string, string> = {}) {
  try {
    load(text, environment)
  } catch (error) {
    return error
  }
  return undefined
}

describe('configuration', () => {
  it('merges a file over the defaults', () => {
    const config = load('[network]\nhost_port = 9000\n')
    expect(config.network.host_port).toBe(9000)
    expect(config.network.host_bind_ip).toBe('127.0.0.1')
    expect(config.docker.keep_versions).toBe(1)
  })

  it('lets the environment win, with its type', () => {
    const config = load('[network]\nhost_port = 9000\n', { HAKURIVER_NETWORK_HOST_PORT: '9001', HAKURIVER_DOCKER_TASKS_PRIVILEGED: 'true', HAKURIVER_RUNNER_HOSTNAME: 'node7' })
    expect(config.network.host_port).toBe(9001)
    expect(config.docker.tasks_privileged).toBe(true)
    expect(config.runner.hostname).toBe('node7')
  })

  it('names file, line, key and the nearest known key', () => {
    expect(failure('[network]\nhost_prot = 9000\n')).toMatchObject({ code: 'config.invalid', message: expect.stringMatching(/config\.toml.*network\.host_prot \(line 2\).*did you mean "network\.host_port"/) })
    expect(failure('[netwrok]\nhost_port = 9000\n')).toMatchObject({ message: expect.stringContaining('did you mean "network"') })
  })

  it.each(['[network]\nhost_port = "x"\n', '[network]\nhost_port = 0\n', '[paths]\nshared_dir = "relative"\n', '[docker]\nkeep_versions = 0\n', 'network = 3\n', '[network\n'])('refuses %j', (text) => {
    expect(failure(text)).toMatchObject({ code: 'config.invalid', message: expect.stringContaining('config.toml') })
  })

  it('tells a named file that is missing', () => {
    expect(() => loadConfig(join(directory, 'none.toml'), {})).toThrow(expect.objectContaining({ code: 'config.not_found' }))
    expect(() => loadConfig(undefined, { HAKURIVER_CONFIG: join(directory, 'none.toml') })).toThrow(expect.objectContaining({ code: 'config.not_found' }))
  })
})
