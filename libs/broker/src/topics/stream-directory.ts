import type { BrokerLogger } from '../broker-config.ts'
import type { StreamCatalog } from './bound-streams.ts'
import type { TopicAdmin } from './topic-admin.ts'
import { eventsTopic } from './topic-plan.ts'

/**
 * Which streams exist and may be written, as far as publishing must know: a look-up in memory for every stream that was
 * seen once (P9: no Postgres, no orchestrator). A stream that was deleted is noticed by the producer, and forgotten here.
 */
export interface StreamDirectory {
  /** True when none of them must be asked for, made or refused. */
  knowsAll(streams: ReadonlySet<string>): boolean
  /**
   * Sees to it that they exist: asks Kafka, makes what is missing where that is allowed. A stream that is bound to
   * somebody else's topic is never made, and refused unless it is writable.
   * Throws {@link StreamsRefusedError}, or what Kafka says.
   */
  ensure(streams: ReadonlySet<string>): Promise<void>
  forget(stream: string): void
}

export interface StreamDirectoryOptions {
  topics: TopicAdmin
  prefix: string
  catalog: Pick<StreamCatalog, 'bindingOf' | 'topicOf'>
  /** Resolves when the catalog has been heard of: a stream that it was not heard of yet must not be made. */
  whenKnown?: () => Promise<void>
  /** Of all streams there are. */
  streamsMax: number
  /** Of the streams made here. */
  partitions: number
  autocreate: boolean
  log: BrokerLogger
}

/** These streams do not exist and are not made, or are not to be written; nothing was written. */
export class StreamsRefusedError extends Error {
  override readonly name = 'StreamsRefusedError'
  readonly code:
    | 'invalid_topic'
    | 'stream_autocreate_off'
    | 'too_many_streams'
    | 'stream_read_only'
    | 'kafka_topic_not_found'
  readonly streams: readonly string[]

  constructor(code: StreamsRefusedError['code'], streams: readonly string[], detail: string) {
    super(detail)
    this.code = code
    this.streams = streams
  }
}

/** Kafka's limit of a topic's name. */
const KAFKA_TOPIC_CHARACTERS_MAX = 249

export function createStreamDirectory(options: StreamDirectoryOptions): StreamDirectory {
  const known = new Set<string>()
  // One request for Kafka however many publishers wait for the same new stream.
  const underWay = new Map<string, Promise<void>>()

  const isReadOnly = (stream: string): boolean => options.catalog.bindingOf(stream)?.rule.writable === false

  async function find(streams: readonly string[]): Promise<void> {
    await options.whenKnown?.()
    refuseReadOnly(streams.filter(isReadOnly))
    for (const stream of streams) {
      const fault = longStreamNameFault(options.prefix, stream)
      if (fault !== null) throw new StreamsRefusedError('invalid_topic', [stream], fault)
    }
    const missing = await missingOf(streams, options)
    if (missing.length > 0) await make(missing, options)
    for (const stream of streams) known.add(stream)
  }

  return {
    knowsAll(streams) {
      for (const stream of streams) if (!known.has(stream) || isReadOnly(stream)) return false
      return true
    },
    async ensure(streams) {
      refuseReadOnly([...streams].filter(isReadOnly))
      const wanted = [...streams].filter((stream) => !known.has(stream))
      const others = wanted.flatMap((stream) => underWay.get(stream) ?? [])
      if (others.length > 0) await settled(others, wanted)
      const open = wanted.filter((stream) => !known.has(stream))
      if (open.length === 0) return
      const finding = find(open).finally(() => {
        for (const stream of open) if (underWay.get(stream) === finding) underWay.delete(stream)
      })
      for (const stream of open) underWay.set(stream, finding)
      await finding
    },
    forget: (stream) => known.delete(stream),
  }
}

/** Waits for what other requests have asked already. That they named a stream which is refused is their fault alone. */
async function settled(others: readonly Promise<void>[], wanted: readonly string[]): Promise<void> {
  for (const result of await Promise.allSettled(others)) {
    if (result.status === 'fulfilled') continue
    const reason: unknown = result.reason
    const isOurs =
      !(reason instanceof StreamsRefusedError) || reason.streams.some((stream) => wanted.includes(stream))
    if (isOurs) throw reason
  }
}

/** Those of the streams that do not exist. Any other trouble is Kafka's: the producer will meet it and say what it is. */
async function missingOf(
  streams: readonly string[],
  { topics, catalog }: Pick<StreamDirectoryOptions, 'topics' | 'catalog'>,
): Promise<string[]> {
  const { failed } = await topics.describe(streams.map((stream) => catalog.topicOf(stream)))
  return streams.filter((stream) => failed.get(catalog.topicOf(stream)) === 'unknown_topic')
}

function refuseReadOnly(streams: readonly string[]): void {
  if (streams.length === 0) return
  const detail =
    'its stream is bound to a Kafka topic that others write; bind it with "writable": true to publish here'
  throw new StreamsRefusedError('stream_read_only', streams, detail)
}

async function make(streams: readonly string[], options: StreamDirectoryOptions): Promise<void> {
  const { topics, prefix, catalog, partitions, autocreate, log } = options
  const bound = streams.filter((stream) => catalog.bindingOf(stream) !== null)
  if (bound.length > 0) {
    const detail = 'the Kafka topic that its stream is bound to does not exist'
    throw new StreamsRefusedError('kafka_topic_not_found', bound, detail)
  }
  if (!autocreate) {
    const detail =
      'its stream does not exist; make it with PUT /v1/streams/{stream}, or let a trigger name it'
    throw new StreamsRefusedError('stream_autocreate_off', streams, detail)
  }
  const fault = await tooManyStreamsFault(options, streams.length)
  if (fault !== null) throw new StreamsRefusedError('too_many_streams', streams, fault)
  await topics.ensureTopics(streams.map((stream) => ({ ...eventsTopic(prefix, stream), partitions })))
  const absent = await missingOf(streams, options)
  if (absent.length > 0) {
    const detail = 'its Kafka topic does not exist, and HEADRACE_KAFKA_TOPICS forbids to make it here'
    throw new StreamsRefusedError('stream_autocreate_off', absent, detail)
  }
  for (const stream of streams)
    log.info({ event: 'stream.created', stream, partitions }, `stream ${stream} was made at its first event`)
}

/** Where the name leaves no room for the prefix in Kafka's 249 characters: what to do; else null. */
export function longStreamNameFault(prefix: string, stream: string): string | null {
  const { name } = eventsTopic(prefix, stream)
  if (name.length <= KAFKA_TOPIC_CHARACTERS_MAX) return null
  const most = KAFKA_TOPIC_CHARACTERS_MAX - (name.length - stream.length)
  return `its stream needs a Kafka topic name of ${name.length} characters; the first segment may have ${most}`
}

/** Where so many more streams would be too many: what to do; else null. */
export async function tooManyStreamsFault(
  { topics, prefix, streamsMax }: Pick<StreamDirectoryOptions, 'topics' | 'prefix' | 'streamsMax'>,
  more: number,
): Promise<string | null> {
  // A request that names more new streams than there may be at all is no reason to ask Kafka.
  const existing = more > streamsMax ? 0 : (await topics.list(eventsTopic(prefix, '').name)).length
  if (existing + more <= streamsMax) return null
  return `at most ${streamsMax} streams are possible; the first segment of a topic names a kind of event, ids belong behind it`
}
