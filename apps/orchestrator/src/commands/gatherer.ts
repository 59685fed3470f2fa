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
 */
export interface Gatherer<Item, Reply> {
  /** Rejects with what `run` rejected with, or with `overloaded` when too much waits already. */
  submit(items: readonly Item[]): Promise<Reply[]>
  /** Resolves when nothing is in flight and nothing waits. */
  idle(): Promise<void>
}

export interface GathererOptions<Item, Reply> {
  /** Items of one batch; a submission that is larger alone still runs whole. */
  itemsMax: number
  /** Items that may wait for the statement in flight; beyond it submissions are refused. */
  waitingMax: number
  run: (items: readonly Item[]) => Promise<Reply[]>
  /** The whole batch meets it again: it is not some request's fault. */
  isOutage: (error: unknown) => boolean
  /** Told the size of each batch that ran, and how long it took (seconds). */
  ran?: (items: number, seconds: number) => void
}

interface Submission<Item, Reply> {
  items: readonly Item[]
  resolve: (replies: Reply[]) => void
  reject: (error: unknown) => void
}

export function createGatherer<Item, Reply>(options: GathererOptions<Item, Reply>): Gatherer<Item, Reply> {
  const waiting: Submission<Item, Reply>[] = []
  let waitingItems = 0
  let loop: Promise<void> | null = null

  function takeBatch(): Submission<Item, Reply>[] {
    let items = 0
    let taken = 0
    for (const submission of waiting) {
      if (taken > 0 && items + submission.items.length > options.itemsMax) break
      items += submission.items.length
      taken += 1
    }
    waitingItems -= items
    return waiting.splice(0, taken)
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
    while (waiting.length > 0) await runBatch(takeBatch())
    loop = null
  }

  return {
    async submit(items) {
      if (items.length === 0) return []
      if (waitingItems + items.length > options.waitingMax && waiting.length > 0) {
        throw new ProblemError('overloaded', `More than ${options.waitingMax} commands wait for Postgres`)
      }
      const { promise, resolve, reject } = Promise.withResolvers<Reply[]>()
      waiting.push({ items, resolve, reject })
      waitingItems += items.length
      loop ??= drain()
      return await promise
    },
    async idle() {
      await loop
    },
  }
}
