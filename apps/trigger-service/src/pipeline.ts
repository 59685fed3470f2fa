import { type BoundStreams, type Broker, type LanedConsumer, partitionKey } from '@headrace/broker'
import type { Admissions, Dispatcher } from '@headrace/dispatch'
import { createDuty, type Duty, type HealthCheck, type ServiceContext, type Tracing } from '@headrace/service'
import {
  createCursors,
  createProjections,
  extendProjection,
  finishReplay,
  findStreamBinding,
  listProjectionGaps,
  listStreamBindings,
  listTriggers,
  listWaitedStreams,
  loadCursors,
  noteOpenWindows,
  passGap,
  runningReplays,
  setBackpressure,
  setCursorStatus,
  type Store,
} from '@headrace/store'
import { CatchUp } from './catch-up/catch-up-reader.ts'
import type { TriggerServiceConfig } from './config.ts'
import { Adoption, type CursorStore } from './lanes/adoption.ts'
import { LaneSet } from './lanes/lane-set.ts'
import type { Lane } from './lanes/lane.ts'
import { OpenWindowNotes } from './lanes/open-window-notes.ts'
import type { Follower, LaneEntry } from './lanes/follower.ts'
import { registerLaneGauges, registerProjectionGauges, type TriggerMetrics } from './metrics.ts'
import { GapReader, type GapStore } from './projection/gap-reader.ts'
import { Projector } from './projection/projector.ts'
import type { ResponseWriter } from './projection/response-writer.ts'
import { ReplayReader, type ReplayStore } from './replay/replay-reader.ts'
import { createEventIdStore } from './repeats/event-id-store.ts'
import { Repeats } from './repeats/repeats.ts'
import type { DeadLetters } from './set-aside/dead-letters.ts'
import { createBackpressure } from './start-runs/backpressure.ts'
import { Flusher } from './start-runs/flusher.ts'
import type { RunStore } from './start-runs/run-store.ts'
import { createTraceWindow } from './start-runs/window-trace.ts'
import { type Listed, TriggerList } from './triggers/trigger-list.ts'

export interface PipelineParts {
  config: TriggerServiceConfig
  store: Store
  broker: Broker
  /** Set from what is read of the bindings with the triggers. */
  streams: BoundStreams
  deadLetters: DeadLetters
  dispatcher: Dispatcher
  admissions: Admissions
  runStore: RunStore
  responses: ResponseWriter
  triggerMetrics: TriggerMetrics
  /** Null: no traces are wanted. */
  tracing: Tracing | null
}

/** Most bytes of one fetch over all lanes; lanes bound what is kept. */
const FETCH_BYTES_MAX = 8 * 1024 * 1024
/** A window's timeout at the head is late by at most this. */
const FETCH_WAIT_MS = 100

/**
 * Puts the parts together: records → lanes → closed windows → flusher → runs, and of waited streams → projector → response
 * topic → flusher. Triggers and waited streams are polled, lanes are assigned by Kafka's group, adoption brings the two
 * together; every poke is backed by a sweep.
 */
export class Pipeline {
  readonly #context: ServiceContext
  readonly #parts: PipelineParts
  readonly #postgres: HealthCheck
  readonly #kafka: HealthCheck
  readonly #flusher: Flusher
  readonly #projector: Projector
  readonly #triggers: TriggerList
  readonly #consumer: LanedConsumer
  readonly #lanes: LaneSet
  readonly #catchUp: CatchUp
  readonly #adoption: Adoption
  readonly #gaps: GapReader
  readonly #replays: ReplayReader
  readonly #duties: readonly Duty[]

  constructor(context: ServiceContext, parts: PipelineParts) {
    const { log, clock, metrics, health } = context
    const { store, broker, streams, deadLetters, dispatcher, triggerMetrics, tracing } = parts
    const topicOf = (stream: string): string => streams.topicOf(stream)
    const repeats = new Repeats({
      store: createEventIdStore(store),
      broker,
      streams,
      log,
      clock,
      onOutage: (detail) => this.#postgresIs(detail),
    })
    const onOrphans = () => this.#adoption.duty.poke()
    const shared = { log, clock, deadLetters, repeats, streams, onOrphans }
    this.#context = context
    this.#parts = parts
    this.#postgres = health.check('postgres')
    this.#kafka = health.check('kafka')
    this.#flusher = new Flusher({
      ...shared,
      store: parts.runStore,
      dispatch: async (seeds) => await dispatcher.dispatch(seeds),
      admit: (keys) => parts.admissions.admit(keys),
      trace: tracing === null ? null : createTraceWindow({ tracing, topicOf }),
      metrics: triggerMetrics,
      onFenced: shared.onOrphans,
      onOutage: (detail) => this.#postgresIs(detail),
    })
    const writer = parts.responses
    this.#projector = new Projector({ ...shared, writer, enqueue: (entry) => this.#flusher.enqueue(entry) })
    const enqueue = (entry: LaneEntry) => this.#take(entry)
    this.#triggers = this.#makeTriggers()
    this.#consumer = this.#makeConsumer()
    const onLeft = (follower: Follower, lane: Lane) => this.#catchUp.begin(follower, lane)
    this.#lanes = new LaneSet({ ...shared, consumer: this.#consumer, enqueue, onLeft }, (stream) =>
      this.#triggers.live(stream),
    )
    this.#catchUp = new CatchUp({ ...shared, broker, enqueue })
    this.#adoption = this.#makeAdoption()
    this.#gaps = new GapReader({
      ...shared,
      store: gapStore(store),
      broker,
      lanes: this.#lanes,
      writer,
      metrics,
    })
    this.#replays = new ReplayReader({
      ...shared,
      store: replayStore(store),
      broker,
      lanes: this.#lanes,
      trigger: (stream, id) => this.#triggers.followed(stream, id),
      enqueue,
      metrics,
    })
    this.#duties = [
      this.#triggers.duty,
      this.#adoption.duty,
      this.#gaps.duty,
      this.#replays.duty,
      this.#makeBackpressure(),
      this.#makeProgress(),
    ]
    this.#registerGauges()
  }

  start(): void {
    for (const duty of this.#duties) duty.start()
    this.#consumer.start()
  }

  /** What is closed is flushed and idle cursors are moved on, so that the next owner has nothing to read again. */
  async stop(deadline: AbortSignal): Promise<void> {
    await Promise.all(this.#duties.map(async (duty) => await duty.stop()))
    await this.#gaps.stop()
    await this.#replays.stop()
    this.#catchUp.freeze()
    for (const lane of this.#lanes.all) lane.freeze()
    await this.#projector.stop()
    await this.#drained(deadline)
    for (const lane of this.#lanes.all) lane.writeProgress()
    await this.#drained(deadline)
    // A second time, for the group's offsets as they are now.
    for (const lane of this.#lanes.all) lane.writeProgress()
    await this.#consumer.stop()
    await this.#flusher.stop()
    await this.#catchUp.ended()
  }

  async #drained(deadline: AbortSignal): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const giveUp = () => resolve()
    deadline.addEventListener('abort', giveUp, { once: true })
    if (deadline.aborted) giveUp()
    await Promise.race([this.#flusher.drained(), late])
    deadline.removeEventListener('abort', giveUp)
  }

  #take(entry: LaneEntry): void {
    if (entry.kind === 'responses') this.#projector.enqueue(entry)
    else this.#flusher.enqueue(entry)
  }

  #postgresIs(fault: string | null): void {
    if (fault === null) this.#postgres.ok()
    else this.#postgres.fail(fault)
  }

  #triggersRead(changed: boolean): void {
    this.#postgresIs(null)
    if (!changed) return
    const { streams } = this.#parts
    streams.set(this.#triggers.bindings)
    this.#consumer.setTopics(this.#triggers.streams.map((stream) => streams.topicOf(stream)))
    this.#lanes.reconcile()
    this.#gaps.duty.poke()
  }

  #makeTriggers(): TriggerList {
    const { log, clock, metrics } = this.#context
    return new TriggerList({
      list: async () => await listed(this.#parts.store),
      onRead: (changed) => this.#triggersRead(changed),
      onFailed: (detail) => this.#postgresIs(detail),
      log,
      clock,
      metrics,
    })
  }

  #makeAdoption(): Adoption {
    const { log, clock, metrics } = this.#context
    const { store, broker, streams, triggerMetrics } = this.#parts
    return new Adoption({
      lanes: this.#lanes,
      store: cursorStore(store, streams),
      broker,
      streams,
      catchUp: (follower, lane) => this.#catchUp.begin(follower, lane),
      onStale: () => this.#triggers.duty.poke(),
      metrics: triggerMetrics,
      serviceMetrics: metrics,
      log,
      clock,
    })
  }

  #makeBackpressure(): Duty {
    const { log, clock, metrics } = this.#context
    return createBackpressure({
      queuedRunsMax: this.#parts.config.queuedRunsMax,
      set: async (limits) => await setBackpressure(this.#parts.store, limits),
      onChanged: () => this.#triggers.duty.poke(),
      log,
      clock,
      metrics,
    })
  }

  #registerGauges(): void {
    const { clock, metrics } = this.#context
    const lanes = () => this.#lanes.all
    const now = () => clock.now()
    registerLaneGauges(metrics, {
      lanes,
      triggers: () => this.#triggers.all,
      readers: () => this.#catchUp.readers,
      now,
    })
    registerProjectionGauges(metrics, { lanes, gapReaders: () => this.#gaps.readers, now })
  }

  #makeConsumer(): LanedConsumer {
    const { broker, config, streams, triggerMetrics } = this.#parts
    return broker.consumer({
      groupId: `${config.prefix}.trigger-service`,
      topics: [],
      fromBeginning: false,
      maxWaitMs: FETCH_WAIT_MS,
      maxBytes: FETCH_BYTES_MAX,
      lane: ({ topic, partition, signal }) => {
        const stream = streams.streamOf(topic) ?? topic
        return this.#lanes.add({ topic, stream, partition, signal })
      },
      // Where a lane starts is decided when its cursors are read; until then it is full, and not fetched.
      onAssigned: (added) => {
        triggerMetrics.rebalances.inc()
        const keys = added.flatMap(({ topic, partitions }) =>
          partitions.map((partition) => partitionKey(topic, partition)),
        )
        return Promise.resolve(new Map(keys.map((key) => [key, 0])))
      },
      onTopicsMissing: (topics) => {
        for (const topic of topics)
          this.#context.log.warn(
            { event: 'stream.missing', code: 'stream_missing', topic },
            'a stream that has triggers, or is waited on, has no Kafka topic',
          )
      },
      onState: (state) => {
        if (state === 'running' || state === 'waiting_for_topics') this.#kafka.ok(state)
        else this.#kafka.fail(state)
      },
    })
  }

  #makeProgress(): Duty {
    const { log, clock, metrics } = this.#context
    const notes = new OpenWindowNotes(async (all) => await noteOpenWindows(this.#parts.store, all))
    return createDuty({
      name: 'trigger-service.progress',
      everyMs: this.#parts.config.progressEveryMs,
      log,
      clock,
      metrics,
      runOnce: async () => {
        for (const lane of this.#lanes.all) lane.writeProgress()
        await notes.tell(this.#lanes.all)
      },
    })
  }
}

async function listed(store: Store): Promise<Listed> {
  const [triggers, waited, bindings] = await Promise.all([
    listTriggers(store),
    listWaitedStreams(store),
    listStreamBindings(store),
  ])
  return { triggers, waited, bindings }
}

function cursorStore(store: Store, streams: BoundStreams): CursorStore {
  return {
    loadCursors: async (stream, partitions) => {
      const cursors = await loadCursors(store, stream, partitions)
      // Read after them: cursors of a topic that the stream was bound to since then mean nothing in the one that is read.
      const binding = await findStreamBinding(store.general, stream)
      if (binding?.rule.kafka_topic !== streams.bindingOf(stream)?.rule.kafka_topic)
        throw new Error(`the stream ${stream} is bound anew`)
      return cursors
    },
    createCursors: async (rows) => await createCursors(store, [...rows]),
    createProjections: async (rows) => await createProjections(store, [...rows]),
    stopCursor: async ({ triggerId, stream, partition, revision }, gap) =>
      await setCursorStatus(store, {
        triggerId,
        stream,
        partition,
        revision,
        status: 'stopped',
        reason: gap.kind,
        lost: gap.kind === 'gap' ? gap.lost : 0,
      }),
    passGap: async (cursor, past) => await passGap(store, cursor, past),
  }
}

function replayStore(store: Store): ReplayStore {
  return {
    list: async () => await runningReplays(store),
    finish: async (replay, end) => await finishReplay(store, replay, end),
  }
}

function gapStore(store: Store): GapStore {
  return {
    listGaps: async () => await listProjectionGaps(store),
    extend: async (gap, to) => await extendProjection(store, gap, to),
  }
}
