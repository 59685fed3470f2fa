import {
  addSchemaIds,
  decodeEvent,
  decodeExternal,
  type Frames,
  needsSchemas,
  type ReadFrame,
  type ReadRecord,
  type StreamRecord,
} from '@headrace/core'
import { ProblemError, type StreamBinding } from '@headrace/schemas'
import { eventsTopic, streamOfTopic } from './topic-plan.ts'

/** Which Kafka topic holds a stream, and how its records are read: ours, unless it is bound to somebody else's topic. */
export interface StreamCatalog {
  topicOf(stream: string): string
  /** Null for a topic that holds no stream. */
  streamOf(topic: string): string | null
  /** Null for a stream of our own. */
  bindingOf(stream: string): StreamBinding | null
  /**
   * What reads these records of a stream: at once, unless they name schemas that are not known yet. Rejects with a problem that
   * is worth another try while the registry cannot be asked: no reason to set a record aside.
   */
  reader(
    stream: string,
    records: readonly FramedRecord[],
    signal?: AbortSignal,
  ): ReadRecord | Promise<ReadRecord>
}

/** As much of a record as tells by which schemas it is read. */
export type FramedRecord = Pick<StreamRecord, 'key' | 'value'>

/** The bindings as last heard of. Who hears of them, from Postgres or from the config topic, sets them here. */
export class BoundStreams implements StreamCatalog {
  readonly #prefix: string
  readonly #topics = new Map<string, string>()
  #byStream: ReadonlyMap<string, StreamBinding> = new Map()
  #byTopic: ReadonlyMap<string, string> = new Map()

  readonly #frames: Frames | null

  /** `frames` null: no registry is configured. */
  constructor(prefix: string, frames: Frames | null = null) {
    this.#prefix = prefix
    this.#frames = frames
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

  reader(
    stream: string,
    records: readonly FramedRecord[],
    signal?: AbortSignal,
  ): ReadRecord | Promise<ReadRecord> {
    const binding = this.#byStream.get(stream) ?? null
    if (this.#frames === null)
      return binding !== null && needsSchemas(binding.rule)
        ? Promise.reject(noRegistry(stream))
        : readerOf(stream, binding)
    const ids = new Set<number>()
    for (const record of records) addSchemaIds(binding?.rule ?? null, record, ids)
    const read = this.#frames.reader(ids, signal)
    return read instanceof Promise
      ? read.then((known) => readerOf(stream, binding, known))
      : readerOf(stream, binding, read)
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

function readerOf(stream: string, binding: StreamBinding | null, readFrame?: ReadFrame): ReadRecord {
  return binding === null
    ? (record) => decodeEvent(stream, record, readFrame)
    : (record) => decodeExternal(binding, record, readFrame)
}

const noRegistry = (stream: string): ProblemError =>
  new ProblemError(
    'schema_registry_unavailable',
    `The records of ${stream} are read by their schemas, and HEADRACE_SCHEMA_REGISTRY_URL is not set here`,
  )

/** Callers may name any number of streams that there are not. */
const NAMES_KEPT_MAX = 1_000
