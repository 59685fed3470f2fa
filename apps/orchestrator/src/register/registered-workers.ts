import { type Caller, OPEN_KEY_ID, requireQueue } from '@headrace/http'
import { ProblemError } from '@headrace/schemas'
import { type RegisteredWorker, registeredWorker, type Store } from '@headrace/store'

/**
 * The queue and the API key of each worker that speaks to this instance. They never change under one id, so they are asked
 * once; forgetting one costs a look-up.
 */
export interface RegisteredWorkers {
  /** Null: it never registered. */
  of(workerId: string): Promise<RegisteredWorker | null>
  /**
   * Throws `forbidden` unless the caller may speak for the worker: with the key that it registered with, as long as that is for
   * its queue. Of an id that never registered there is nothing to keep from anybody.
   */
  requireOwn(caller: Caller, workerId: string): Promise<void>
}

/** More workers than any one instance serves. */
const KNOWN_MAX = 10_000

export function createRegisteredWorkers(store: Store): RegisteredWorkers {
  const known = new Map<string, RegisteredWorker>()
  const of = async (workerId: string): Promise<RegisteredWorker | null> => {
    const cached = known.get(workerId)
    if (cached !== undefined) return cached
    const worker = await registeredWorker(store, workerId)
    if (worker === null) return null
    if (known.size >= KNOWN_MAX) known.clear()
    known.set(workerId, worker)
    return worker
  }
  return {
    of,
    async requireOwn(caller, workerId) {
      if (caller.keyId === OPEN_KEY_ID) return
      const worker = await of(workerId)
      if (worker === null) return
      requireQueue(caller, worker.queue)
      // One that registered while keys were off goes on with the key that it has sent all along.
      if (worker.keyId === null || worker.keyId === caller.keyId) return
      throw new ProblemError(
        'forbidden',
        `The worker ${workerId} registered with another API key than ${caller.keyId}`,
      )
    },
  }
}
