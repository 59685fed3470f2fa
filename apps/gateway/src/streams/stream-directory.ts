import { type Broker, eventsTopic } from '@headrace/broker'
import { limits, ProblemError } from '@headrace/schemas'
import type { Logger } from '@headrace/service'

/**
 * Which streams exist, as far as publishing must know: a look-up in memory for every stream that was seen once (P9: no
 * Postgres, no orchestrator). A stream that was deleted is noticed by the producer, and forgotten here.
 */
export interface StreamDirectory {
  /** True when none of them must be asked for or made. */
  knowsAll(streams: ReadonlySet<string>): boolean
  /** Sees to it that they exist: asks Kafka, makes what is missing where that is allowed. Throws {@link ProblemError}. */
  ensure(streams: ReadonlySet<string>): Promise<void>
  forget(stream: string): void
}

export interface StreamDirectoryOptions {
  topics: Broker['topics']
  prefix: string
  /** Of the streams made here. */
  partitions: number
  autocreate: boolean
  log: Logger
}

/** Kafka's limit of a topic's name. */
export const KAFKA_TOPIC_CHARACTERS_MAX = 249

export function createStreamDirectory(options: StreamDirectoryOptions): StreamDirectory {
  const known = new Set<string>()
  // One request for Kafka however many publishers wait for the same new stream.
  const underWay = new Map<string, Promise<void>>()

  async function find(streams: readonly string[]): Promise<void> {
    for (const stream of streams) refuseLongName(options.prefix, stream)
    const missing = await missingOf(streams, options)
    if (missing.length > 0) await make(missing, options)
    for (const stream of streams) known.add(stream)
  }

  return {
    knowsAll(streams) {
      for (const stream of streams) if (!known.has(stream)) return false
      return true
    },
    async ensure(streams) {
      const wanted = [...streams].filter((stream) => !known.has(stream))
      const unasked = wanted.filter((stream) => !underWay.has(stream))
      if (unasked.length > 0) {
        const finding = find(unasked).finally(() => {
          for (const stream of unasked) underWay.delete(stream)
        })
        for (const stream of unasked) underWay.set(stream, finding)
      }
      await Promise.all(wanted.flatMap((stream) => underWay.get(stream) ?? []))
    },
    forget: (stream) => known.delete(stream),
  }
}

/** Those of the streams that do not exist. Any other trouble is Kafka's: the producer will meet it and say what it is. */
async function missingOf(
  streams: readonly string[],
  { topics, prefix }: Pick<StreamDirectoryOptions, 'topics' | 'prefix'>,
): Promise<string[]> {
  const { failed } = await topics.describe(streams.map((stream) => eventsTopic(prefix, stream).name))
  return streams.filter((stream) => failed.get(eventsTopic(prefix, stream).name) === 'unknown_topic')
}

async function make(streams: readonly string[], options: StreamDirectoryOptions): Promise<void> {
  const { topics, prefix, partitions, autocreate, log } = options
  const [first = ''] = streams
  if (!autocreate) {
    const detail = `there is no stream ${first}; make it with PUT /v1/streams/${first}, or let a trigger name it`
    throw new ProblemError('stream_autocreate_off', detail)
  }
  await refuseTooMany(topics, prefix, streams.length)
  await topics.ensureTopics(streams.map((stream) => ({ ...eventsTopic(prefix, stream), partitions })))
  const [absent] = await missingOf(streams, options)
  if (absent !== undefined) {
    const detail = `there is no Kafka topic ${eventsTopic(prefix, absent).name}, and HEADRACE_KAFKA_TOPICS forbids to make it here`
    throw new ProblemError('stream_autocreate_off', detail)
  }
  for (const stream of streams)
    log.info({ event: 'stream.created', stream, partitions }, `stream ${stream} was made at its first event`)
}

/** Throws `invalid_topic` where the name leaves no room for the prefix in Kafka's 249 characters. */
export function refuseLongName(prefix: string, stream: string): void {
  const { name } = eventsTopic(prefix, stream)
  if (name.length <= KAFKA_TOPIC_CHARACTERS_MAX) return
  const most = KAFKA_TOPIC_CHARACTERS_MAX - (name.length - stream.length)
  const detail = `the stream ${stream.slice(0, 40)}… needs a Kafka topic name of ${name.length} characters; the stream's name may have ${most}`
  throw new ProblemError('invalid_topic', detail)
}

/** Throws `too_many_streams` where so many more streams would be too many. */
export async function refuseTooMany(topics: Broker['topics'], prefix: string, more: number): Promise<void> {
  const { length: existing } = more > limits.streamsMax ? [] : await topics.list(eventsTopic(prefix, '').name)
  if (existing + more <= limits.streamsMax) return
  const detail = `${more} more streams would be too many: ${limits.streamsMax} are possible. The first segment of a topic names a kind of event; ids belong behind it`
  throw new ProblemError('too_many_streams', detail)
}
