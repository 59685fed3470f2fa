import type { TopicView } from './cluster.ts'

/** How old a view may grow before it is looked at again in the background (ms): new partitions are seen by then. */
const VIEW_AGE_MAX_MS = 30_000

/**
 * Topics' leaders as last seen. Refreshes are gathered: while one is under way, further topics wait for the next, so that
 * a burst of errors costs two requests and not one each.
 */
export class TopicCache {
  readonly #ask: (topics: readonly string[]) => Promise<ReadonlyMap<string, TopicView>>
  readonly #views = new Map<string, { view: TopicView; at: number }>()
  #next: { topics: Set<string>; done: Promise<void> } | null = null
  #current: Promise<void> | null = null

  constructor(ask: (topics: readonly string[]) => Promise<ReadonlyMap<string, TopicView>>) {
    this.#ask = ask
  }

  /** The last view of a topic, if it is known to exist. */
  get(topic: string): Extract<TopicView, { status: 'known' }> | null {
    const view = this.#views.get(topic)?.view
    return view?.status === 'known' ? view : null
  }

  /** The last answer about a topic, good or bad. */
  last(topic: string): TopicView | null {
    return this.#views.get(topic)?.view ?? null
  }

  isOld(topic: string, now: number): boolean {
    const seen = this.#views.get(topic)
    return seen !== undefined && now - seen.at > VIEW_AGE_MAX_MS
  }

  /** Asks about these topics, in a request that begins after this call. Rejects when Kafka cannot be asked. */
  refresh(topics: Iterable<string>): Promise<void> {
    if (this.#next === null) {
      const wanted = new Set<string>()
      this.#next = { topics: wanted, done: this.#loadAfter(this.#current, wanted) }
    }
    for (const topic of topics) this.#next.topics.add(topic)
    return this.#next.done
  }

  async #loadAfter(current: Promise<void> | null, wanted: ReadonlySet<string>): Promise<void> {
    // Also without one under way this yields once, so that callers of one tick share a request.
    await current?.catch(() => undefined)
    await Promise.resolve()
    this.#next = null
    this.#current = this.#load([...wanted])
    try {
      await this.#current
    } finally {
      this.#current = null
    }
  }

  async #load(topics: readonly string[]): Promise<void> {
    const views = await this.#ask(topics)
    for (const topic of topics) {
      const view = views.get(topic)
      // A topic that was asked for and is not in the answer is as unknown as one with an error.
      const seen = view ?? { status: 'failed', code: 'unknown_topic_or_partition', retryable: true }
      this.#views.set(topic, { view: seen, at: performance.now() })
    }
  }
}
