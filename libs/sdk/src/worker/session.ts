import { type Broker, createBroker, type LanedConsumer } from '@headrace/broker'
import { type Task, type RegisterReply } from '@headrace/schemas'
import type { RunHost } from '../run/run-host.ts'
import { Heartbeat } from './heartbeat.ts'
import { HttpExchange } from './http-exchange.ts'
import { HttpLink } from './http-link.ts'
import { InHandTable } from './in-hand-table.ts'
import { OrchestratorRoute } from './orchestrator-route.ts'
import { RunPool } from './run-pool.ts'
import type { WorkerSettings } from './settings.ts'
import { TaskLane } from './task-lane.ts'

/** Why a session ended by itself: the worker registers again, under a new id. */
export type SessionLoss = 'unknown_worker' | 'no_answer' | 'key_refused' | 'heartbeat_died'

const TICK_MS = 500
const STEAL_EVERY_MS = 1_000
/** What is released at once must still be told; an orchestrator that is away then recovers it by itself. */
const FAREWELL_MS = 3_000

/** One registration's life: group member, heartbeat, link, and the runs in hand. */
export class WorkerSession {
  readonly #settings: WorkerSettings
  readonly #reply: RegisterReply
  readonly #exchange: HttpExchange
  readonly #link: HttpLink
  readonly #heartbeat: Heartbeat
  readonly #broker: Broker
  readonly #consumer: LanedConsumer
  readonly #pool: RunPool
  readonly #lanes = new Map<number, TaskLane>()
  readonly #timer: NodeJS.Timeout
  #answeredAt = performance.now()
  /** Since the last heartbeat that was taken. */
  #isRefused = false
  #stolenAt = performance.now()
  #turnedAt = performance.now()
  #loopDelayMs = 0
  #nextLane = 0
  #pumpAsked = false
  #stopping = false
  #lose: (loss: SessionLoss) => void = () => {}

  /** Resolves when another has, or may have, everything this session held. */
  readonly lost: Promise<SessionLoss>

  constructor(params: {
    settings: WorkerSettings
    reply: RegisterReply
    headers: Record<string, string>
    host: Omit<RunHost, 'send'>
  }) {
    const { settings, reply, headers, host } = params
    this.#settings = settings
    this.#reply = reply
    this.lost = new Promise((resolve) => {
      this.#lose = resolve
    })
    const addresses = {
      orchestratorUrl: reply.orchestrator_url.replace(/\/+$/, ''),
      gatewayUrl: settings.url,
    }
    this.#exchange = new HttpExchange(headers)
    const route = new OrchestratorRoute({
      exchange: this.#exchange,
      addresses,
      now: () => performance.now(),
      // The heartbeat goes the same way, and says it.
      onDetour: () => {},
    })
    const onUnknownWorker = (): void => this.#lose('unknown_worker')
    this.#link = new HttpLink({ workerId: reply.worker_id, route, log: settings.log, onUnknownWorker })
    const inHand = new InHandTable(settings.concurrency)
    this.#pool = new RunPool({
      workflows: settings.runnable,
      concurrency: settings.concurrency,
      host: { ...host, send: (command) => this.#link.send(command) },
      inHand,
      log: settings.log,
      onRoom: () => this.#askPump(),
    })
    this.#heartbeat = new Heartbeat({
      data: {
        ...addresses,
        workerId: reply.worker_id,
        headers,
        heartbeatMs: reply.heartbeat_ms,
        inHand: inHand.buffer,
      },
      log: settings.log,
      // Commands that are answered prove nothing: without heartbeats this worker is declared dead all the same.
      onAnswer: () => {
        this.#answeredAt = performance.now()
        this.#isRefused = false
      },
      // One orchestrator may know of a key a second later than another: only a lease of refusals counts.
      onRefused: () => {
        this.#isRefused = true
      },
      onDeath: () => this.#lose('heartbeat_died'),
      onUnknownWorker,
      onLost: (lost) => {
        for (const run of lost) this.#pool.lose(run)
      },
    })
    this.#broker = createBroker({
      brokers: settings.kafkaBrokers ?? reply.kafka_brokers,
      clientId: `headrace-worker-${settings.app}`,
      logger: settings.log,
      security: settings.kafka,
    })
    this.#consumer = this.#createConsumer()
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#consumer.start()
  }

  #createConsumer(): LanedConsumer {
    const { task_topic: topic, group_id: groupId } = this.#reply
    return this.#broker.consumer({
      groupId,
      topics: [topic],
      // Stale tasks die at the claim; a task passed over would wait for a steal.
      fromBeginning: true,
      lane: ({ partition, signal }) => {
        const lane = new TaskLane({
          commit: (nextOffset) => this.#consumer.commit(topic, partition, nextOffset),
          onTasks: () => this.#askPump(),
        })
        this.#lanes.set(partition, lane)
        signal.addEventListener('abort', () => {
          // Claims under way go on: a run is bound to this worker, not to the partition.
          if (this.#lanes.get(partition) === lane) this.#lanes.delete(partition)
          this.#sayPartitions()
        })
        this.#sayPartitions()
        return lane
      },
      onCrash: (error) => {
        this.#settings.log.error({ event: 'worker.consumer_crashed', error: String(error) }, 'joining again')
      },
    })
  }

  #sayPartitions(): void {
    if (!this.#stopping) this.#heartbeat.say({ partitions: this.partitions })
  }

  get workerId(): string {
    return this.#reply.worker_id
  }
  get partitions(): number[] {
    return [...this.#lanes.keys()].sort((a, b) => a - b)
  }
  get running(): number {
    return this.#pool.running
  }
  get loopDelayMs(): number {
    return this.#loopDelayMs
  }
  /** Member of its group, and its heartbeat was answered within its lease. */
  get isReady(): boolean {
    return !this.#stopping && this.#consumer.state === 'running' && this.#silenceMs() < this.#reply.lease_ms
  }

  #silenceMs(): number {
    return performance.now() - this.#answeredAt
  }

  #tick(): void {
    const now = performance.now()
    this.#loopDelayMs = Math.max(0, now - this.#turnedAt - TICK_MS)
    this.#turnedAt = now
    this.#heartbeat.turn()
    // After a pause of the whole process the heartbeat's answers may still be on their way: only then is it silence.
    if (this.#silenceMs() > this.#reply.lease_ms && this.#loopDelayMs < TICK_MS)
      return this.#lose(this.#isRefused ? 'key_refused' : 'no_answer')
    this.#pool.tick()
    if (now - this.#stolenAt >= STEAL_EVERY_MS) this.#steal()
  }

  #steal(): void {
    if (this.#stopping || this.#pool.isStealing || this.#pool.room <= 0 || this.#hasTasks()) return
    this.#stolenAt = performance.now()
    const stolen = (again: boolean): void => {
      if (again) this.#steal()
    }
    this.#pool.steal().then(stolen, (error: unknown) => {
      this.#settings.log.error({ event: 'worker.steal_failed', error: String(error) }, 'stealing failed')
    })
  }

  #hasTasks(): boolean {
    for (const lane of this.#lanes.values()) if (lane.waiting > 0) return true
    return false
  }

  #askPump(): void {
    if (this.#pumpAsked) return
    this.#pumpAsked = true
    queueMicrotask(() => {
      this.#pumpAsked = false
      this.#pump()
    })
  }

  /** Hands tasks to the pool, lane by lane in turn, so that a long one starves no other. */
  #pump(): void {
    const lanes = [...this.#lanes.values()]
    let refusals = 0
    while (refusals < lanes.length && !this.#stopping) {
      const lane = lanes[this.#nextLane++ % lanes.length]
      const next = lane?.peek() ?? null
      if (lane !== undefined && next !== null && this.#take(next.task, next.settle)) {
        lane.take()
        refusals = 0
      } else refusals += 1
    }
  }

  #take(task: Task | null, settle: () => void): boolean {
    if (task !== null) return this.#pool.offer(task, settle)
    this.#settings.log.warn({ event: 'worker.task_unreadable' }, 'a task that cannot be read was dropped')
    settle()
    return true
  }

  /**
   * Leaves in order: no new task, out of the group, every run to its next step boundary and back; past `drainMs`, or
   * once `hurry` is aborted, at once.
   */
  async stop({ drainMs, hurry }: { drainMs: number; hurry: AbortSignal }): Promise<void> {
    this.#stopping = true
    this.#heartbeat.say({ status: 'draining', partitions: [] })
    this.#pool.drain('boundary')
    const left = this.#consumer.stop()
    if (!(await within(this.#pool.empty(), drainMs, hurry))) {
      this.#pool.drain('at_once')
      await within(this.#pool.empty(), FAREWELL_MS, null)
    }
    await left
    await this.close()
  }

  /** Ends everything at once; what is in hand is another's. May be called twice. */
  async close(): Promise<void> {
    this.#stopping = true
    clearInterval(this.#timer)
    this.#pool.loseAll('this worker lost its registration')
    this.#link.close()
    await Promise.all([this.#heartbeat.stop(), this.#consumer.stop()])
    await this.#broker.close()
    this.#exchange.close()
  }
}

/** True when the work was done in time. */
async function within(work: Promise<void>, ms: number, hurry: AbortSignal | null): Promise<boolean> {
  const { promise: over, resolve } = Promise.withResolvers<false>()
  const late = (): void => resolve(false)
  const timer = setTimeout(late, ms)
  hurry?.addEventListener('abort', late, { once: true })
  if (hurry?.aborted === true) late()
  try {
    return await Promise.race([work.then(() => true), over])
  } finally {
    clearTimeout(timer)
    hurry?.removeEventListener('abort', late)
  }
}
