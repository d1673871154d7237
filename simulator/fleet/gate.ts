/** Where a node waits while its Runner is frozen or not there. */
export interface Gate {
  readonly isOpen: boolean
  open(): void
  shut(): void
  /** Now, or once it is open, in order. */
  run(step: () => void): void
  /** Resolves once it is open. */
  passed(): Promise<void>
}

export function createGate(): Gate {
  let isOpen = true
  let waiting: (() => void)[] = []

  function run(step: () => void): void {
    if (isOpen) step()
    else waiting.push(step)
  }

  return {
    get isOpen() {
      return isOpen
    },
    open() {
      isOpen = true
      const steps = waiting
      waiting = []
      // One of them may shut it again.
      for (const step of steps) run(step)
    },
    shut() {
      isOpen = false
    },
    run,
    passed: () => new Promise((resolve) => run(resolve)),
  }
}
