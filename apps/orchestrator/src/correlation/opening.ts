import {
  type Broker,
  BrokerError,
  responsesTopic,
  type StreamCatalog,
  StreamsRefusedError,
} from '@headrace/broker'
import type { StreamDirectory } from '@headrace/broker'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import {
  loadCorrelatorCursors,
  openPendingWaits,
  openStream,
  type Store,
  type StreamToOpen,
  streamsToOpen,
} from '@headrace/store'
import type { Looks } from '../waits/looks.ts'
import type { SelfRead } from '../waits/self-read.ts'
import { endsPassed, isBegunAnew } from './passed.ts'

export interface OpeningOptions {
  store: Store
  broker: Pick<Broker, 'offsets'>
  prefix: string
  catalog: Pick<StreamCatalog, 'topicOf'>
  /** Makes the Kafka topic of a stream that is waited on before it has one, where that is allowed. */
  streams: Pick<StreamDirectory, 'ensure' | 'forget'>
  selfRead: SelfRead
  looks: Pick<Looks, 'begin'>
  log: Logger
  clock: Clock
  metrics: Metrics
}

const LOOK_EVERY_MS = 1_000
/** After a poke: the first wait on a stream is open some hundred ms after its registration. */
const SOON_MS = 100
const SOON_LOOKS = 30

/**
 * Opens waits. A wait may be answered once its stream is projected from its `since` on, on every partition,
 * and the correlator has read what that put on the response topic. Earlier, a later event could be taken for the first.
 *
 * Every value is read before what it is compared with: what was asked for, then how far it is projected, then the ends of
 * the response topic, then the correlator's cursors. Any number of instances do this; nothing here is remembered but ends
 * that were asked for before, which stay good.
 */
export function createOpening(options: OpeningOptions): Duty {
  const { store, clock } = options
  /** The ends that the correlator has to pass for a stream, by stream and what was asked for. */
  const endsOf = new Map<string, ReadonlyMap<number, number>>()
  let soon = 0

  /** Takes the ends that have to be passed, for streams that are projected far enough. One that fails stops no other. */
  async function takeEnds(toOpen: StreamToOpen[]): Promise<unknown[]> {
    const names = new Set(toOpen.map(nameOf))
    for (const name of endsOf.keys()) if (!names.has(name)) endsOf.delete(name)
    const asked = toOpen.filter((each) => !endsOf.has(nameOf(each)))
    const answers = await Promise.allSettled(asked.map(async (each) => await isProjected(options, each)))
    const projected = asked.filter((_, at) => {
      const answer = answers[at]
      return answer?.status === 'fulfilled' && answer.value
    })
    if (projected.length > 0) {
      const ends = await endsOfResponses(options)
      for (const each of projected) endsOf.set(nameOf(each), ends)
    }
    return answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason as unknown] : []))
  }

  async function openPassed(toOpen: StreamToOpen[]): Promise<boolean> {
    if (endsOf.size === 0) return false
    const cursors = await loadCorrelatorCursors(store)
    // With Kafka away, what it told before stays good.
    const now = await endsOfResponses(options).catch((error: unknown) => {
      if (error instanceof BrokerError) return null
      throw error
    })
    let opened = false
    for (const each of toOpen) {
      const ends = endsOf.get(nameOf(each))
      if (ends === undefined) continue
      const isAnew = now !== null && isBegunAnew(now, ends, cursors)
      if (!isAnew && !endsPassed(ends, cursors)) continue
      // Ends of a response topic that is no more are never passed, or by a cursor that has passed nothing: taken again.
      endsOf.delete(nameOf(each))
      if (!isAnew) opened = (await openStream(store, each)) || opened
    }
    return opened
  }

  const duty = createDuty({
    name: 'waits.open',
    everyMs: LOOK_EVERY_MS,
    log: options.log,
    clock,
    metrics: options.metrics,
    runOnce: async (signal) => {
      // First, and also when Kafka is away: whoever opened the stream may have died before its waits.
      await openWaits(options)
      const toOpen = await streamsToOpen(store)
      if (toOpen.length === 0) return null
      const [fault] = await takeEnds(toOpen)
      if (await openPassed(toOpen)) await openWaits(options)
      if (fault !== undefined) throw fault
      if (soon === 0) return null
      soon -= 1
      await clock.sleep(SOON_MS, signal)
      return 'again' as const
    },
  })
  return {
    ...duty,
    poke() {
      soon = SOON_LOOKS
      duty.poke()
    },
  }
}

/** Those that read a single row each look together: there may be 10,000 of a stream. */
async function openWaits({ store, selfRead, looks }: OpeningOptions): Promise<void> {
  const opened = await openPendingWaits(store)
  const { plain = [], filtered = [] } = Object.groupBy(opened, (wait) =>
    wait.filtered ? 'filtered' : 'plain',
  )
  await Promise.all([selfRead(plain), looks.begin(filtered)])
}

const nameOf = ({ stream, projectedFrom }: StreamToOpen): string => `${stream} ${projectedFrom}`

/** On every partition that the stream has; one that comes later is projected from its beginning. */
async function isProjected(
  { broker, catalog, streams, log }: OpeningOptions,
  { stream, projected, known }: StreamToOpen,
): Promise<boolean> {
  const topic = catalog.topicOf(stream)
  try {
    const there = new Set(projected)
    return [...(await broker.offsets(topic)).keys()].every((partition) => there.has(partition))
  } catch (error) {
    if (!isUnknownTopic(error)) throw error
    streams.forget(stream)
    // It had a topic: what is projected is not known to be all. Without one there is nothing that could be missing.
    if (known) return false
    return !(await isMade(stream, { streams, log }))
  }
}

async function isMade(
  stream: string,
  { streams, log }: Pick<OpeningOptions, 'streams' | 'log'>,
): Promise<boolean> {
  try {
    await streams.ensure(new Set([stream]))
    return true
  } catch (error) {
    if (!(error instanceof StreamsRefusedError) && !(error instanceof BrokerError && !error.retryable))
      throw error
    log.warn(
      { event: 'wait.stream_not_made', code: error.code, stream, err: error },
      'a stream that is waited on does not exist and cannot be made here; it is projected from its beginning when it is there',
    )
    return false
  }
}

const isUnknownTopic = (error: unknown): boolean =>
  error instanceof BrokerError && error.code === 'unknown_topic'

async function endsOfResponses({
  broker,
  prefix,
}: Pick<OpeningOptions, 'broker' | 'prefix'>): Promise<Map<number, number>> {
  const ends = await broker.offsets(responsesTopic(prefix).name)
  return new Map([...ends].map(([partition, { high }]) => [partition, high]))
}
