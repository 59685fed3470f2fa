import type { LanedConsumer } from '@headrace/broker'
import { type Clock, createMetrics, silentLogger } from '@headrace/service'
import type { TaskSeed, TriggerRow } from '@headrace/store'
import { CatchUp } from '../catch-up/catch-up-reader.ts'
import { Adoption } from '../lanes/adoption.ts'
import { LaneSet } from '../lanes/lane-set.ts'
import type { Lane } from '../lanes/lane.ts'
import { createTriggerMetrics } from '../metrics.ts'
import type { DeadLetter } from '../set-aside/dead-letters.ts'
import { Flusher } from '../start-runs/flusher.ts'
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
    status: 'live',
    version: 1,
    onDeploy: 'upgrade',
    gapPolicy: 'stop',
    ...over,
  }) as TriggerRow

/** Everything between Kafka and Postgres, on one partition held in memory. The test decides what is fetched and when. */
export class Harness {
  readonly log: PartitionLog
  readonly postgres: FakePostgres
  readonly letters: DeadLetter[] = []
  readonly tasks: TaskSeed[] = []
  readonly committed: number[] = []
  readonly lanes: LaneSet
  readonly flusher: Flusher
  readonly catchUp: CatchUp
  readonly adoption: Adoption
  triggers: TriggerRow[]
  nowMs = 0
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
  }: {
    triggers: TriggerRow[]
    log?: PartitionLog
    postgres?: FakePostgres
  }) {
    this.log = log
    this.postgres = postgres
    this.triggers = triggers
    const clock: Clock = {
      now: () => this.nowMs,
      sleep: async (_ms, signal) => {
        await new Promise(setImmediate)
        signal.throwIfAborted()
      },
      every: () => () => undefined,
    }
    const consumer: Pick<LanedConsumer, 'seek' | 'resume' | 'commit'> = {
      seek: (_topic, _partition, offset) => {
        this.#fetchAt = offset
      },
      resume: () => undefined,
      commit: (_topic, _partition, offset) => {
        this.committed.push(offset)
      },
    }
    const deadLetters = { put: async (letters: readonly DeadLetter[]) => await this.#put(letters) }
    const metrics = createTriggerMetrics(createMetrics())
    const onOrphans = () => {
      this.pokes += 1
    }
    const shared = { deadLetters, log: silentLogger, clock, onOrphans }
    this.flusher = new Flusher({
      ...shared,
      store: postgres,
      metrics,
      dispatch: (seeds) => {
        this.tasks.push(...seeds)
        return Promise.resolve()
      },
      onFenced: onOrphans,
      onOutage: () => undefined,
    })
    const enqueue = this.flusher.enqueue.bind(this.flusher)
    this.lanes = new LaneSet({ ...shared, consumer, enqueue }, () =>
      this.triggers.filter(({ status }) => status === 'live'),
    )
    this.catchUp = new CatchUp({ ...shared, broker: log, enqueue })
    this.adoption = new Adoption({
      ...shared,
      lanes: this.lanes,
      store: postgres,
      broker: log,
      catchUp: (follower, lane) => this.catchUp.begin(follower, lane),
      onStale: () => undefined,
      metrics,
      serviceMetrics: createMetrics(),
    })
    const { topic, partition } = log
    this.lane = this.lanes.add({ topic, stream: 'orders', partition, signal: this.#revoked.signal })
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
    return JSON.stringify([cursors, followers, this.lane.position, this.#fetchAt, this.catchUp.readers])
  }

  async revoke(): Promise<void> {
    this.#revoked.abort(new Error('revoked'))
    await this.flusher.stop()
    await this.catchUp.ended()
  }
}
