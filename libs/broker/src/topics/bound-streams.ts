import { decodeEvent, decodeExternal, type ReadEvent, type StreamRecord } from '@headrace/core'
import type { StreamBinding } from '@headrace/schemas'
import { eventsTopic, streamOfTopic } from './topic-plan.ts'

/** Which Kafka topic holds a stream, and how its records are read: ours, unless it is bound to somebody else's topic. */
export interface StreamCatalog {
  topicOf(stream: string): string
  /** Null for a topic that holds no stream. */
  streamOf(topic: string): string | null
  /** Null for a stream of our own. */
  bindingOf(stream: string): StreamBinding | null
  /** Reads a record of a stream. Never throws. */
  decode(stream: string, record: StreamRecord): ReadEvent
}

/** The bindings as last heard of. Who hears of them, from Postgres or from the config topic, sets them here. */
export class BoundStreams implements StreamCatalog {
  readonly #prefix: string
  readonly #topics = new Map<string, string>()
  #byStream: ReadonlyMap<string, StreamBinding> = new Map()
  #byTopic: ReadonlyMap<string, string> = new Map()

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  set(bindings: readonly StreamBinding[]): void {
    this.#byStream = new Map(bindings.map((binding) => [binding.stream, binding]))
    this.#byTopic = new Map(bindings.map(({ stream, rule }) => [rule.kafka_topic, stream]))
  }

  get all(): readonly StreamBinding[] {
    return [...this.#byStream.values()]
  }

  bindingOf(stream: string): StreamBinding | null {
    return this.#byStream.get(stream) ?? null
  }

  topicOf(stream: string): string {
    return this.#byStream.get(stream)?.rule.kafka_topic ?? this.#ownTopicOf(stream)
  }

  streamOf(topic: string): string | null {
    const bound = this.#byTopic.get(topic)
    if (bound !== undefined) return bound
    const own = streamOfTopic(this.#prefix, topic)
    return own !== null && this.#byStream.has(own) ? null : own
  }

  decode(stream: string, record: StreamRecord): ReadEvent {
    const binding = this.#byStream.get(stream)
    return binding === undefined ? decodeEvent(stream, record) : decodeExternal(binding, record)
  }

  /** Kept: it is asked for with every event that is published. */
  #ownTopicOf(stream: string): string {
    let topic = this.#topics.get(stream)
    if (topic === undefined) {
      topic = eventsTopic(this.#prefix, stream).name
      if (this.#topics.size >= NAMES_KEPT_MAX) this.#topics.clear()
      this.#topics.set(stream, topic)
    }
    return topic
  }
}

/** Callers may name any number of streams that there are not. */
const NAMES_KEPT_MAX = 1_000
