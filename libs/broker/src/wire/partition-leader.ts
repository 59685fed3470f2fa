import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError, codeMessage, kafkaError, type NeededAcl, topicAcl } from '../broker-error.ts'
import type { Cluster, TopicView } from './cluster.ts'

/** How often a question is put again while leaders move or brokers restart, and the pause between (ms): about 5 s. */
const ATTEMPTS_MAX = 20
const PAUSE_MS = 250

/** Kafka's errors that new metadata answers: unknown topic, leader not available, not leader, fenced or unknown epoch. */
const staleMetadata = new Set([3, 5, 6, 9, 74, 75, 76])

export function isStaleMetadata(errorCode: number): boolean {
  return staleMetadata.has(errorCode)
}

/** The view of one topic that must exist. Throws `unknown_topic` where it does not. */
export async function topicView(
  cluster: Cluster,
  topic: string,
): Promise<Extract<TopicView, { status: 'known' }>> {
  const view = (await cluster.metadata([topic])).topics.get(topic)
  if (view?.status === 'known') return view
  const code = view?.code ?? 'unknown_topic_or_partition'
  if (code === 'unknown_topic_or_partition') throw unknownTopic(topic)
  const why = codeMessage(code, topicAcl('Describe', topic))
  throw new BrokerError(code, `topic ${topic} cannot be asked about: ${why}`, {
    retryable: view?.retryable ?? false,
  })
}

export function unknownTopic(topic: string): BrokerError {
  return new BrokerError('unknown_topic', `there is no Kafka topic ${topic}`, { retryable: false })
}

/**
 * Asks again, with fresh metadata, while the answer is that leaders are moving or that nobody can be reached; for about
 * 5 s. Any other error is thrown at once.
 */
export async function withLeaders<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted()
    try {
      return await ask()
    } catch (error) {
      const again = error instanceof BrokerError && error.retryable && attempt < ATTEMPTS_MAX
      if (!again) throw error
      await sleep(PAUSE_MS, undefined, signal === undefined ? {} : { signal })
    }
  }
}

/** Throws the error of a partition's answer, retryable where new metadata can mend it. */
export function failOn(errorCode: number, about: string, needed: NeededAcl): void {
  if (errorCode === 0) return
  const error = kafkaError(errorCode, about, needed)
  throw isStaleMetadata(errorCode) ? new BrokerError(error.code, error.message, { retryable: true }) : error
}
