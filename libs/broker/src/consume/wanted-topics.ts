import type { BrokerLogger } from '../broker-config.ts'
import { codeMessage, topicAcl } from '../broker-error.ts'
import type { TopicCache } from '../wire/topic-cache.ts'

/**
 * The topics a consumer wants, and which of them exist now. A topic without metadata is left out at once: kept in the
 * subscription it would fail every request that names it. It is asked about again with every look.
 */
export class WantedTopics {
  readonly #cache: TopicCache
  readonly #logger: BrokerLogger
  readonly #onMissing: (topics: readonly string[]) => void
  #wanted: readonly string[]
  #missing = ''
  /** Existing topics and their partition counts, as of the last look. */
  counts: Readonly<Record<string, number>> = {}

  constructor(
    wanted: readonly string[],
    parts: { cache: TopicCache; logger: BrokerLogger; onMissing: (topics: readonly string[]) => void },
  ) {
    this.#wanted = [...new Set(wanted)].sort()
    this.#cache = parts.cache
    this.#logger = parts.logger
    this.#onMissing = parts.onMissing
  }

  replace(topics: readonly string[]): void {
    this.#wanted = [...new Set(topics)].sort()
  }

  /** Looks at all wanted topics; true when what exists of them changed. Rejects when Kafka cannot be asked. */
  async look(): Promise<boolean> {
    const wanted = this.#wanted
    if (wanted.length > 0) await this.#cache.refresh(wanted)
    const counts: Record<string, number> = {}
    const missing: string[] = []
    for (const topic of wanted) {
      const view = this.#cache.get(topic)
      if (view === null) missing.push(topic)
      else counts[topic] = view.leaders.length
    }
    this.#say(missing)
    const changed = JSON.stringify(counts) !== JSON.stringify(this.counts)
    this.counts = counts
    return changed
  }

  /** One that we may not see may be there or not. */
  #sayRefused(topic: string): void {
    const view = this.#cache.last(topic)
    if (view?.status !== 'failed' || view.code !== 'topic_authorization_failed') return
    this.#logger.warn(
      { event: 'kafka.topic_refused', topic, code: view.code },
      `topic ${topic} cannot be read: ${codeMessage(view.code, topicAcl('Read', topic))}`,
    )
  }

  #say(missing: readonly string[]): void {
    const said = missing.join()
    if (said === this.#missing) return
    this.#missing = said
    for (const topic of missing) this.#sayRefused(topic)
    if (missing.length > 0) {
      this.#logger.warn(
        { event: 'kafka.topics_missing', topics: missing },
        `topics that do not exist, or cannot be seen: ${said}`,
      )
    }
    this.#onMissing(missing)
  }
}
