import { queueOfWorker, type Store } from '@headrace/store'

/**
 * The queue of each worker that steals. It never changes under one id, so it is asked once; forgetting one costs a
 * look-up.
 */
export interface WorkerQueues {
  of(workerId: string): Promise<string | null>
}

/** More workers than any one instance serves. */
const KNOWN_MAX = 10_000

export function createWorkerQueues(store: Store): WorkerQueues {
  const known = new Map<string, string>()
  return {
    async of(workerId) {
      const cached = known.get(workerId)
      if (cached !== undefined) return cached
      const queue = await queueOfWorker(store, workerId)
      if (queue === null) return null
      if (known.size >= KNOWN_MAX) known.clear()
      known.set(workerId, queue)
      return queue
    },
  }
}
