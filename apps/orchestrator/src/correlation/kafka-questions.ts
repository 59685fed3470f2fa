import { BrokerError } from '@headrace/broker'
import type { Clock } from '@headrace/service'

/**
 * Questions to Kafka about topics, of which one that cannot be asked about must hold up no other: a question that fails
 * takes seconds, so it is asked once a round; and who has not answered for a while is told apart from who stalls a moment.
 */
export class KafkaQuestions {
  readonly #clock: Pick<Clock, 'now'>
  readonly #failed = new Map<string, BrokerError>()
  /** Since when each topic's questions fail (ms). */
  readonly #since = new Map<string, number>()

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /** From here on every topic is asked about again. */
  newRound(): void {
    this.#failed.clear()
  }

  /** Null: Kafka did not answer, now or before in this round. What is no fault of Kafka's is thrown. */
  async ask<Answer>(topic: string, question: (topic: string) => Promise<Answer>): Promise<Answer | null> {
    if (this.#failed.has(topic)) return null
    try {
      const answer = await question(topic)
      this.#since.delete(topic)
      return answer
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error
      this.#failed.set(topic, error)
      if (!this.#since.has(topic)) this.#since.set(topic, this.#clock.now())
      return null
    }
  }

  /** Whether this round's question about the topic failed, as all have for so long (ms). */
  hasFailedFor(topic: string, ms: number): boolean {
    const since = this.#since.get(topic)
    return this.#failed.has(topic) && since !== undefined && this.#clock.now() - since >= ms
  }

  /** Of this round; null when every question was answered. */
  get fault(): BrokerError | null {
    const [fault] = this.#failed.values()
    return fault ?? null
  }

  /** Forgets topics that nobody asks about any more. */
  keepOnly(topics: ReadonlySet<string>): void {
    for (const topic of this.#since.keys()) if (!topics.has(topic)) this.#since.delete(topic)
  }
}
