import { type Broker, createBroker, eventsTopic, type OutgoingRecord } from '@headrace/broker'
import { encodeEvent } from '@headrace/core'
import type { RegistryAccess } from '@headrace/registry'
import { type RunningApp, silentLogger } from '@headrace/service'
import { openStore, registerApp, type Store } from '@headrace/store'
import { startTriggerService } from '../trigger-service.ts'

/** A window as it stands in Postgres. */
export interface StoredWindow {
  partition: number
  offsets: number[]
  data: unknown[]
}

interface StoredCursor {
  next_offset: number
  done: string
  status: string
  reason: string | null
  incarnation: number
  lost: number
}

export interface SceneTrigger {
  id: string
  pattern: string
  size?: number
  timeoutMs?: number | null
  key?: string
  if?: string
  onGap?: 'stop' | 'continue'
}

interface SceneOptions {
  brokers: string[]
  prefix: string
  databaseUrl: string
  partitions: number
  schemaRegistry?: RegistryAccess
}

/** A real Kafka and a real Postgres, with a prefix, a stream `orders` and a database of the test's own. */
export class Scene {
  readonly broker: Broker
  readonly store: Store
  readonly prefix: string
  readonly topic: string
  readonly #options: SceneOptions
  readonly #producer: ReturnType<Broker['producer']>
  readonly #running = new Set<RunningApp>()
  #published = 0

  constructor(options: SceneOptions) {
    this.#options = options
    this.prefix = options.prefix
    this.topic = eventsTopic(options.prefix, 'orders').name
    this.broker = createBroker({ brokers: options.brokers, clientId: 'test', logger: silentLogger })
    this.store = openStore({ url: options.databaseUrl, applicationName: 'test' })
    this.#producer = this.broker.producer()
  }

  async open(): Promise<this> {
    const { prefix, partitions } = this.#options
    await this.broker.topics.ensureTopics([{ ...eventsTopic(prefix, 'orders'), partitions }])
    return this
  }

  async produce(records: OutgoingRecord[]): Promise<void> {
    const outcomes = await this.#producer.produce(records, { deadlineMs: 60_000 })
    const failed = outcomes.find(({ status }) => status !== 'written')
    if (failed) throw new Error(`not written: ${JSON.stringify(failed)}`)
  }

  /** Publishes events whose data is their number, in order; to one partition unless they are to be spread (null). */
  async publish(count: number, options: { topic?: string; partition?: number | null } = {}): Promise<void> {
    const { topic = 'orders/created', partition = 0 } = options
    const numbers = upTo(count, this.#published)
    this.#published += count
    await this.produce(
      numbers.map((number) => {
        const event = encodeEvent({
          id: `e${number}`,
          source: 'test',
          topic,
          eventType: null,
          data: number,
          key: partition === null ? `k${number}` : null,
          time: 0,
          traceparent: null,
          dedup: false,
        })
        return { topic: this.topic, partition, ...event }
      }),
    )
  }

  /** Publishes events under ids that came from outside, by a producer of their own; the data of each is its id. */
  async send(events: readonly { id: string; source?: string; partition?: number }[]): Promise<void> {
    const producer = this.broker.producer()
    const records = events.map(({ id, source = 'test', partition = 0 }) => {
      const facts = { topic: 'orders/created', eventType: null, key: null, time: 0, traceparent: null }
      const event = encodeEvent({ id, source, data: id, dedup: true, ...facts })
      return { topic: this.topic, partition, ...event }
    })
    for (const { status } of await producer.produce(records, { deadlineMs: 60_000 }))
      if (status !== 'written') throw new Error(`not written: ${status}`)
    await producer.close()
  }

  /** Registers an app as its workers do: triggers begin at the end of the log. */
  async register(build: string, triggers: SceneTrigger[]): Promise<void> {
    await registerApp(this.store, {
      app: 'shop',
      build,
      workflows: triggers.map(({ id, pattern, size = 1, timeoutMs = null, key, if: filter, onGap }) => ({
        id,
        queue: 'default',
        on_deploy: 'upgrade',
        triggers: [
          {
            id,
            pattern,
            window: {
              size,
              timeout_ms: timeoutMs,
              max_bytes: 1024 * 1024,
              ...(key === undefined ? {} : { key }),
            },
            ...(filter === undefined ? {} : { if: filter }),
            ...(onGap === undefined ? {} : { on_gap: onGap }),
          },
        ],
      })),
      newCursors: async () => {
        const marks = await this.broker.offsets(this.topic)
        return new Map([['orders', new Map([...marks].map(([partition, { high }]) => [partition, high]))]])
      },
    })
  }

  async start({ progressEveryMs = 200, queuedRunsMax = 10_000 } = {}): Promise<RunningApp> {
    const { brokers, prefix, databaseUrl } = this.#options
    const app = await startTriggerService({
      config: {
        host: '127.0.0.1',
        managementPort: 0,
        kafka: { brokers, topics: 'create', replicationFactor: 1, security: {} },
        prefix,
        databaseUrl,
        schemaRegistry: this.#options.schemaRegistry ?? null,
        progressEveryMs,
        queuedRunsMax,
        drainTimeoutMs: 20_000,
        logLevel: 'silent',
      },
      log: silentLogger,
    })
    this.#running.add(app)
    return app
  }

  async stop(app: RunningApp): Promise<void> {
    this.#running.delete(app)
    await app.stop()
  }

  /** Windows of a trigger, or of one of its replays, that became runs, by partition, in the order of their events. */
  async windows(trigger: string, replay: string | null = null): Promise<StoredWindow[]> {
    const { rows } = await this.store.general.query<{ partition: number; input: string }>(
      `select partition, input from runs where trigger_id = $1 and tags->>'headrace.replay' is not distinct from $2
       order by partition, first_offset`,
      [trigger, replay],
    )
    return rows.map(({ partition, input }) => {
      const { events } = JSON.parse(input) as { events: { sequence_id: number; data: unknown }[] }
      return { partition, offsets: events.map((e) => e.sequence_id), data: events.map((e) => e.data) }
    })
  }

  async cursor(trigger: string): Promise<StoredCursor | undefined> {
    const { rows } = await this.store.general.query<StoredCursor>(
      'select next_offset, done::text as done, status, reason, incarnation, lost from trigger_cursors where trigger_id = $1 and partition = 0',
      [trigger],
    )
    return rows[0]
  }

  async end(): Promise<void> {
    await Promise.all([...this.#running].map(async (app) => await app.stop()))
    await this.broker.close()
    await this.store.close()
  }
}

/** The numbers of the events, lowest first. */
export function numbersIn(windows: readonly StoredWindow[]): number[] {
  return windows.flatMap(({ data }) => data as number[]).sort((a, b) => a - b)
}

export const upTo = (count: number, from = 0): number[] =>
  Array.from({ length: count }, (_, index) => from + index)
