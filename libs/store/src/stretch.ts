import { setImmediate as nextTurn } from 'node:timers/promises'

/**
 * How long work in the process may go on by itself (ms). One filter on one large event takes up to 100 ms, and a look may be
 * some 10,000 of them, while heartbeats, requests and other looks are due.
 */
const stretchMsMax = 5

/** Work that gives others their turn. */
export class Stretch {
  #beganAtMs = performance.now()

  /** Between two pieces of it: goes on at once, or after all that waits when the stretch was long enough. */
  async end(): Promise<void> {
    if (performance.now() - this.#beganAtMs < stretchMsMax) return
    await nextTurn()
    this.#beganAtMs = performance.now()
  }
}
