import { ProblemError } from '@headrace/schemas'

/**
 * Gathers what comes while a statement is in flight, so that all requests waiting share the next one. Nothing waits on
 * purpose: the first to come goes at once, alone.
 *
 * G1  at most one `run` is in flight
 * G2  what was submitted together runs together, so that a last step and its `complete` share a commit
 * G3  each submission gets the replies to its own items, in its own order
 * G4  when a batch fails, and not for an outage, its submissions are run one by one: a request that breaks the
 *     statement fails alone
 * G5  a submission that is withdrawn while it waits never runs: who sent it has stopped waiting and sends it again, and
 *     two copies of everything would keep a queue that is too long from ever getting shorter
 */
export interface Gatherer<Item, Reply> {
  /**
   * Rejects with what `run` rejected with, with `overloaded` when too much waits already, or with the reason of
   * `withdrawn` when that is aborted before the items' turn has come.
   */
  submit(items: readonly Item[], withdrawn?: AbortSignal): Promise<Reply[]>
  /** Resolves when nothing is in flight and nothing waits. */
  idle(): Promise<void>
}

export interface GathererOptions<Item, Reply> {
  /** What one batch holds at the most; a submission that is larger alone still runs whole. */
  batchMax: Load
  /** What may wait for the statement in flight; beyond it submissions are refused. */
  waitingMax: Load
  /** Of an item's payload. */
  charactersOf: (item: Item) => number
  run: (items: readonly Item[]) => Promise<Reply[]>
  /** The whole batch meets it again: it is not some request's fault. */
  isOutage: (error: unknown) => boolean
  /** Told the size of each batch that ran, and how long it took (seconds). */
  ran?: (items: number, seconds: number) => void
}

/** How much there is: many small items cost time, few large ones memory. */
export interface Load {
  items: number
  characters: number
}

interface Submission<Item, Reply> {
  items: readonly Item[]
  load: Load
  resolve: (replies: Reply[]) => void
  reject: (error: unknown) => void
}

const exceeds = (load: Load, most: Load): boolean =>
  load.items > most.items || load.characters > most.characters

const plus = (a: Load, b: Load): Load => ({
  items: a.items + b.items,
  characters: a.characters + b.characters,
})

const minus = (a: Load, b: Load): Load => ({
  items: a.items - b.items,
  characters: a.characters - b.characters,
})

const NOTHING: Load = { items: 0, characters: 0 }

export function createGatherer<Item, Reply>(options: GathererOptions<Item, Reply>): Gatherer<Item, Reply> {
  /** In the order in which they came. */
  const waiting = new Set<Submission<Item, Reply>>()
  let waitingLoad = NOTHING
  let loop: Promise<void> | null = null

  /** False: it does not wait any more. */
  function leave(submission: Submission<Item, Reply>): boolean {
    if (!waiting.delete(submission)) return false
    waitingLoad = minus(waitingLoad, submission.load)
    return true
  }

  function takeBatch(): Submission<Item, Reply>[] {
    const batch: Submission<Item, Reply>[] = []
    let load = NOTHING
    for (const submission of waiting) {
      load = plus(load, submission.load)
      if (batch.length > 0 && exceeds(load, options.batchMax)) break
      batch.push(submission)
    }
    for (const submission of batch) leave(submission)
    return batch
  }

  async function runBatch(batch: Submission<Item, Reply>[]): Promise<void> {
    const items =
      batch.length === 1 ? (batch[0]?.items ?? []) : batch.flatMap((submission) => submission.items)
    const startedAtMs = performance.now()
    try {
      const replies = await options.run(items)
      options.ran?.(items.length, (performance.now() - startedAtMs) / 1_000)
      let from = 0
      for (const { items: own, resolve } of batch) {
        resolve(replies.slice(from, from + own.length))
        from += own.length
      }
    } catch (error) {
      if (batch.length === 1 || options.isOutage(error)) for (const { reject } of batch) reject(error)
      else for (const submission of batch) await runBatch([submission])
    }
  }

  /** Ends when nothing waits any more; whoever submits after that starts it anew. */
  async function drain(): Promise<void> {
    while (waiting.size > 0) await runBatch(takeBatch())
    loop = null
  }

  return {
    async submit(items, withdrawn) {
      if (items.length === 0) return []
      const characters = items.reduce((sum, item) => sum + options.charactersOf(item), 0)
      const load = { items: items.length, characters }
      if (waiting.size > 0 && exceeds(plus(waitingLoad, load), options.waitingMax))
        throw new ProblemError('overloaded', 'Too many commands, or too large ones, wait for Postgres')
      const { promise, resolve, reject } = Promise.withResolvers<Reply[]>()
      const submission = { items, load, resolve, reject }
      waiting.add(submission)
      waitingLoad = plus(waitingLoad, load)
      // G5
      withdrawn?.addEventListener('abort', () => {
        if (leave(submission)) reject(withdrawn.reason)
      })
      loop ??= drain()
      return await promise
    },
    async idle() {
      await loop
    },
  }
}
