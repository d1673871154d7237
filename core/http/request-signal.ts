import { HakuError } from '../errors.ts'

/** Made once: an abort without a reason makes an error with a stack for each request. */
const REQUEST_OVER = new HakuError('host.stopping', 'The client is gone, or the server stops.')

/** Whether a request is over. Its signal is made for who asks for it: one for each request would cost a tenth of a small one. */
export interface RequestSignal {
  readonly signal: AbortSignal
  /** By `performance.now()`. */
  readonly began: number
  /** Receiving it may take as long as it takes. */
  isUpload: boolean
  end(): void
}

/** For one request, from now on. Whoever answers it must call `end` once it is over. */
export function createRequestSignal(): RequestSignal {
  // Of its own, and none that lives longer: a signal made of a long-lived one is never let go (Node 20).
  let controller: AbortController | undefined
  let isOver = false
  return {
    began: performance.now(),
    isUpload: false,
    get signal() {
      if (!controller) {
        controller = new AbortController()
        if (isOver) controller.abort(REQUEST_OVER)
      }
      return controller.signal
    },
    end() {
      isOver = true
      controller?.abort(REQUEST_OVER)
    },
  }
}
