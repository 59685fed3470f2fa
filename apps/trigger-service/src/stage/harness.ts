import { BoundStreams, type LanedConsumer, type OutgoingRecord, type ProduceOutcome } from '@headrace/broker'
import { type Clock, createMetrics, silentLogger } from '@headrace/service'
import type { ConcurrencyKey, TaskSeed, TriggerRow, WaitedStream } from '@headrace/store'
import { CatchUp } from '../catch-up/catch-up-reader.ts'
import { Adoption } from '../lanes/adoption.ts'
import { LaneSet } from '../lanes/lane-set.ts'
import type { LaneEntry } from '../lanes/follower.ts'
import type { Lane, LaneParts } from '../lanes/lane.ts'
import { createTriggerMetrics } from '../metrics.ts'
import { GapReader } from '../projection/gap-reader.ts'
import { Projector } from '../projection/projector.ts'
import { ResponseWriter } from '../projection/response-writer.ts'
import type { DeadLetter } from '../set-aside/dead-letters.ts'
import { projectionOf } from '../triggers/lane-trigger.ts'
import { Flusher } from '../start-runs/flusher.ts'
import { Repeats } from '../repeats/repeats.ts'
import { FakeEventIds } from './event-ids.ts'
import { FakePostgres } from './postgres.ts'
import { PartitionLog } from './partition-log.ts'

export const trigger = (over: Partial<TriggerRow> & { id: string }): TriggerRow =>
  ({
    workflow: over.id,
    app: 'shop',
    build: 'b1',
    queue: 'default',
    pattern: 'orders/created',
    stream: 'orders',
    windowSize: 1,
    windowTimeoutMs: null,
    windowMaxBytes: 1024 * 1024,
    windowKey: null,
    concurrency: null,
    cancelOn: [],
    filter: null,
    status: 'live',
    version: 1,
    onDeploy: 'upgrade',
    gapPolicy: 'stop',
    ...over,
  }) as TriggerRow

interface HarnessOptions {
  triggers: TriggerRow[]
  waited?: readonly WaitedStream[]
  log?: PartitionLog
  postgres?: FakePostgres
  eventIds?: FakeEventIds
}

/** Everything between Kafka and Postgres, on one partition held in memory. The test decides what is fetched and when. */
export class Harness {
  readonly log: PartitionLog
  readonly postgres: FakePostgres
  readonly eventIds: FakeEventIds
  readonly repeats: Repeats
  readonly letters: DeadLetter[] = []
  readonly tasks: TaskSeed[] = []
  readonly admissions: ConcurrencyKey[] = []
  readonly committed: number[] = []
  /** Records of the response topic, in their order. */
  readonly responses: OutgoingRecord[] = []
  readonly lanes: LaneSet
  readonly flusher: Flusher
  readonly catchUp: CatchUp
  readonly adoption: Adoption
  readonly projector: Projector
  readonly gaps: GapReader
  waited: readonly WaitedStream[]
  /** Answers for Kafka what becomes of a response; null: it is written. */
  refuse: (record: OutgoingRecord) => ProduceOutcome | null = () => null
  /** Told of each write of responses. */
  onProduce: () => void = () => undefined
  triggers: TriggerRow[]
  nowMs = 0
  /** What was told of Postgres by whoever enters ids. */
  readonly outages: (string | null)[] = []
  /** Times that somebody asked for cursors to be read again at once. */
  pokes = 0
  /** Thrown by the next dead letter that is put. */
  letterFault: Error | null = null
  #fetchAt = 0
  readonly #revoked = new AbortController()
  readonly lane: Lane

  constructor({
    triggers,
    log = new PartitionLog(),
    postgres = new FakePostgres(),
    eventIds = new FakeEventIds(),
    waited = [],
  }: HarnessOptions) {
    this.log = log
    this.postgres = postgres
    this.eventIds = eventIds
    this.triggers = triggers
    this.waited = waited
    const clock = this.#clock()
    const consumer = this.#consumer()
    const deadLetters = { put: async (letters: readonly DeadLetter[]) => await this.#put(letters) }
    const metrics = createTriggerMetrics(createMetrics())
    const onOrphans = () => void (this.pokes += 1)
    const streams = new BoundStreams('test')
    this.repeats = new Repeats({
      streams,
      store: eventIds,
      broker: log,
      log: silentLogger,
      clock,
      onOutage: (detail) => this.outages.push(detail),
    })
    const shared = { deadLetters, repeats: this.repeats, streams, log: silentLogger, clock, onOrphans }
    this.flusher = new Flusher({
      trace: null,
      ...shared,
      store: postgres,
      metrics,
      dispatch: async (seeds) => await Promise.resolve(void this.tasks.push(...seeds)),
      admit: (keys) => this.admissions.push(...keys),
      onFenced: onOrphans,
      onOutage: () => undefined,
    })
    const writer = new ResponseWriter({ ...shared, ...this.#kafka(), metrics })
    this.projector = new Projector({ ...shared, writer, enqueue: (entry) => this.flusher.enqueue(entry) })
    const enqueue = (entry: LaneEntry) => {
      if (entry.kind === 'responses') this.projector.enqueue(entry)
      else this.flusher.enqueue(entry)
    }
    const onLeft: LaneParts['onLeft'] = (follower, lane) => this.catchUp.begin(follower, lane)
    this.lanes = new LaneSet({ ...shared, consumer, enqueue, onLeft }, () => [
      ...this.triggers.filter(({ status }) => status === 'live'),
      ...this.waited.map(projectionOf),
    ])
    this.catchUp = new CatchUp({ ...shared, broker: log, enqueue })
    this.adoption = new Adoption({
      ...shared,
      metrics,
      serviceMetrics: createMetrics(),
      lanes: this.lanes,
      store: postgres,
      broker: log,
      catchUp: onLeft,
      onStale: () => undefined,
    })
    this.gaps = new GapReader({
      ...shared,
      store: postgres.gaps,
      broker: log,
      lanes: this.lanes,
      writer,
      metrics: createMetrics(),
    })
    const { topic, partition } = log
    this.lane = this.lanes.add({ topic, stream: 'orders', partition, signal: this.#revoked.signal })
  }

  #clock(): Clock {
    return {
      now: () => this.nowMs,
      sleep: async (_ms, signal) => {
        await new Promise(setImmediate)
        signal.throwIfAborted()
      },
      every: () => () => undefined,
    }
  }

  #consumer(): Pick<LanedConsumer, 'seek' | 'resume' | 'commit'> {
    return {
      seek: (_topic, _partition, offset) => {
        this.#fetchAt = offset
      },
      resume: () => undefined,
      commit: (_topic, _partition, offset) => {
        this.committed.push(offset)
      },
    }
  }

  #kafka() {
    return { prefix: 'test', producer: { produce: this.#produce.bind(this) } }
  }

  async #produce(records: readonly OutgoingRecord[]): Promise<ProduceOutcome[]> {
    await new Promise(setImmediate)
    this.onProduce()
    return records.map((record) => {
      const refused = this.refuse(record)
      if (refused === null) this.responses.push(record)
      return refused ?? { status: 'written', partition: 0, offset: this.responses.length - 1, timestamp: 0 }
    })
  }

  async #put(letters: readonly DeadLetter[]): Promise<void> {
    await new Promise(setImmediate)
    const fault = this.letterFault
    this.letterFault = null
    if (fault !== null) throw fault
    this.letters.push(...letters)
  }

  /** Brings triggers and lanes together, once. */
  async adopt(): Promise<void> {
    await this.adoption.duty.runOnce()
  }

  /** One fetch of at most `count` records. False when the lane would not be fetched. */
  fetch(count = 100): boolean {
    if (this.lane.isFull()) return false
    const batch = this.log.fetch(this.#fetchAt, count)
    if (batch === null) {
      this.lane.atHead({ position: this.#fetchAt, highWatermark: this.log.high })
      return true
    }
    const answer = this.lane.push(batch)
    if (answer === 'accepted') this.#fetchAt = batch.nextOffset
    else if (answer !== 'full') this.#fetchAt = answer.seek
    return true
  }

  /** Fetches, flushes and adopts until there is nothing more to do. */
  async settle(): Promise<void> {
    for (let still = 0; still < 4;) {
      const before = this.#fingerprint()
      await this.adopt()
      this.fetch()
      await this.turn()
      await this.flusher.drained()
      still = before === this.#fingerprint() ? still + 1 : 0
    }
  }

  /** Lets everything that is ready run. */
  async turn(): Promise<void> {
    await new Promise(setImmediate)
  }

  #fingerprint(): string {
    const cursors = [...this.postgres.cursors.values()].map(({ nextOffset, revision }) => [
      nextOffset,
      revision,
    ])
    const followers = [...this.lane.followers].map(({ scanned }) => scanned)
    const copied = [this.responses.length, this.gaps.readers]
    const readers = this.catchUp.readers
    return JSON.stringify([cursors, followers, copied, this.lane.position, this.#fetchAt, readers])
  }

  async revoke(): Promise<void> {
    this.#revoked.abort(new Error('revoked'))
    await this.flusher.stop()
    await this.catchUp.ended()
  }
}
