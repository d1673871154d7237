import { mkdtempSync } from 'node:fs'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { formatCpuList, parseCpuList, readOwnCpus } from '#runner/hardware/cpu-list.ts'
import { parseGpus, readGpus } from '#runner/hardware/gpus.ts'
import { openKernelLog } from '#runner/hardware/kernel-log.ts'
import { readNumaNodes } from '#runner/hardware/numa.ts'
import { parseMemoryAvailable, readHardware } from '#runner/hardware/usage.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hakuriver-hardware-'))
})
afterEach(() => rm(root, { recursive: true }))

describe('lists of CPUs', () => {
  it.each([
    ['0', [0]],
    ['0-3', [0, 1, 2, 3]],
    ['0-1,4,6-7', [0, 1, 4, 6, 7]],
    ['', []],
  ])('%o are %o', (list, cpus) => {
    expect(parseCpuList(`${list}\n`)).toEqual(cpus)
    expect(formatCpuList(cpus.toReversed())).toBe(list)
  })

  it('of this process are those that it may use', () => {
    expect(readOwnCpus().length).toBeGreaterThan(0)
  })
})

describe('NUMA nodes', () => {
  async function plant(id: number, cpus: string, kibibytes: number): Promise<void> {
    await mkdir(join(root, `node${id}`))
    await writeFile(join(root, `node${id}`, 'cpulist'), `${cpus}\n`)
    await writeFile(join(root, `node${id}`, 'meminfo'), `Node ${id} MemTotal:       ${kibibytes} kB\nNode ${id} MemFree: 1 kB\n`)
  }

  it('are read in order, those without CPUs left out', async () => {
    await plant(10, '8-11', 2000)
    await plant(0, '0-3,8', 1000)
    await plant(2, '', 4000)
    await writeFile(join(root, 'online'), '0,2,10')
    expect(readNumaNodes(root)).toEqual([
      { id: 0, cpus: '0-3,8', cores: 5, memoryBytes: 1_024_000 },
      { id: 10, cpus: '8-11', cores: 4, memoryBytes: 2_048_000 },
    ])
  })

  it('are none where the kernel knows of none', () => {
    expect(readNumaNodes(join(root, 'absent'))).toEqual([])
  })
})

describe('GPUs', () => {
  const line = (id: number, busId = `00000000:${(id + 1).toString(16).padStart(2, '0')}:00.0`) => `${id}, GPU-aaaaaaaa-bbbb-cccc-dddd-00000000000${id}, NVIDIA A100-SXM4-40GB, 40960, ${busId}`
  const gpu = (id: number, numaNode: number | null = 1) => ({ id, uuid: `GPU-aaaaaaaa-bbbb-cccc-dddd-00000000000${id}`, name: 'NVIDIA A100-SXM4-40GB', memoryBytes: 40960 * 2 ** 20, numaNode })

  it.each([
    ['none', '', []],
    ['no devices', 'No devices were found\n', []],
    ['one', `${line(0)}\n`, [gpu(0)]],
    ['eight', Array.from({ length: 8 }, (_, id) => line(id)).join('\n'), Array.from({ length: 8 }, (_, id) => gpu(id))],
    ['instances of a GPU', `${line(0)}\n  MIG 1g.5gb     Device  0: (UUID: MIG-11111111-2222-3333-4444-555555555555)\n${line(1)}\n`, [gpu(0), gpu(1)]],
    ['one that does not tell', `0, GPU-aaaaaaaa-bbbb-cccc-dddd-000000000000, [N/A], [N/A], [N/A]\n${line(1)}\n1, [Unknown Error], x, 40960, y\n`, [gpu(1)]],
    ['one that is lost', `Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n${line(1)}\n`, [gpu(1)]],
  ])('%s of them', (_, text, gpus) => {
    expect(parseGpus(text, () => 1)).toEqual(gpus)
  })

  it('are asked for their NUMA node by their place', () => {
    const places: string[] = []
    expect(parseGpus(line(0, '00000000:AF:00.0'), (place) => (places.push(place), null))).toEqual([gpu(0, null)])
    expect(places).toEqual(['00000000:AF:00.0'])
  })

  async function program(script: string): Promise<string> {
    const file = join(root, 'nvidia-smi')
    await writeFile(file, `#!/bin/sh\n${script}\n`)
    await chmod(file, 0o755)
    return file
  }

  it('are read from the program of their driver', async () => {
    const found = await readGpus(await program(`[ "$1" = --query-gpu=index,uuid,name,memory.total,pci.bus_id ] && [ "$2" = --format=csv,noheader,nounits ] && echo "${line(0)}"`))
    expect(found).toEqual([gpu(0, null)])
  })

  it('are none where there is no driver, which is nothing to talk of', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    expect(await readGpus(join(root, 'absent'))).toEqual([])
    expect(log).not.toHaveBeenCalled()
    log.mockRestore()
  })

  it('are none where the driver fails, which is told', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    expect(await readGpus(await program('echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver." >&2; exit 9'))).toEqual([])
    expect(log).toHaveBeenCalledWith(expect.stringContaining('could not communicate'))
    log.mockRestore()
  })
})

it('this machine tells what it has', async () => {
  expect(await readHardware({ plainProcesses: true })).toMatchObject({ cores: expect.any(Number), memoryBytes: expect.any(Number), numaNodes: expect.any(Array), gpus: expect.any(Array), plainProcesses: true })
})

it('the kernel\'s log is left alone where it may not be read', () => {
  expect(openKernelLog(join(root, 'absent'))).toBeUndefined()
})

it('reads the memory that programs can get', () => {
  expect(parseMemoryAvailable('MemTotal:  100 kB\nMemFree:   10 kB\nMemAvailable:   20 kB\n')).toBe(20 * 1024)
  expect(parseMemoryAvailable('MemTotal:  100 kB\n')).toBeUndefined()
})
