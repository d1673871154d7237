import { execFile } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type OutputChannel, outputChannels } from '#core/tasks/channels.ts'
import { PIPES_MOUNT } from '../agent/runtime.ts'

/** Two named pipes for the outputs of an item. It may open them again, by the names /dev/stdout and /dev/stderr. */
export interface PipePair {
  /** As the container sees them. */
  inside: Record<OutputChannel, string>
  /** Opens the ends that are read, before anybody writes, so that nothing is lost. */
  open(): OpenPipes
}

export interface OpenPipes {
  /** To be called once somebody has opened the other ends: until then a pipe is at its end. */
  read(): Record<OutputChannel, Socket>
  /** Instead of it. */
  close(): void
}

/** Pipes are used again: to make some takes a program. */
export interface Pipes {
  take(): Promise<PipePair>
  /** Nobody has it open any more. */
  give(pair: PipePair): void
}

const AT_ONCE = 8

/** @param directory of this machine that the container sees */
export function createPipes(directory: string): Pipes {
  const free: PipePair[] = []
  let count = 0

  async function make(): Promise<void> {
    // Another keeper may make some in the same directory.
    const names = Array.from({ length: AT_ONCE }, () => `${process.pid}-${count++}`)
    await promisify(execFile)('mkfifo', ['-m', '666', ...names.flatMap((name) => outputChannels.map((channel) => join(directory, `${name}.${channel}`)))])
    free.push(...names.map((name) => createPair(directory, name)))
  }

  return {
    async take() {
      for (;;) {
        const pair = free.pop()
        if (pair) return pair
        await make()
      }
    },
    give: (pair) => void free.push(pair),
  }
}

// --- internal ---

function createPair(directory: string, name: string): PipePair {
  const pathsIn = (root: string) => ({ stdout: join(root, `${name}.stdout`), stderr: join(root, `${name}.stderr`) })
  const paths = pathsIn(directory)
  return {
    inside: pathsIn(PIPES_MOUNT),
    open() {
      const [stdout = -1, stderr = -1] = [paths.stdout, paths.stderr].map((path) => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK))
      const socketOf = (fd: number) => new Socket({ fd, readable: true, writable: false })
      return {
        read: () => ({ stdout: socketOf(stdout), stderr: socketOf(stderr) }),
        close: () => [stdout, stderr].forEach((fd) => closeSync(fd)),
      }
    },
  }
}
