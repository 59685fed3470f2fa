import type { TopicView } from '../wire/cluster.ts'
import type {
  PartitionAnswer,
  PartitionBatch,
  ProducerIdentity,
  ProduceSender,
  SendReport,
} from './produce-sender.ts'

/** What happens to one request, or to one partition in it. */
export type Fault =
  | 'fine'
  /** The connection could not be made. */
  | 'not_sent'
  /** Written, the answer lost. */
  | 'answer_lost'
  /** Lost on the way, not written. */
  | 'request_lost'
  /** One partition: written, and answered with not_leader (the leader moved while it waited for the replicas). */
  | 'moved_after_append'
  /** One partition: not written, not_leader. */
  | 'moved'
  /** One partition: written, and left out of the answer. */
  | 'left_out'
  /** One partition: not enough replicas, before the append. */
  | 'not_enough_replicas'
  /** One partition: refused for good. */
  | 'too_large'

interface Held {
  readonly leader: number
  readonly batches: readonly PartitionBatch[]
  release(fault?: Fault): void
}

interface Log {
  readonly records: string[]
  readonly producers: Map<string, { next: number; batches: Map<number, { count: number; base: number }> }>
}

const NOT_LEADER = 6
const OUT_OF_ORDER = 45
const NOT_ENOUGH_REPLICAS = 19
const MESSAGE_TOO_LARGE = 10

/** Kafka's rules for idempotent producers, with faults to order: logs, sequence numbers, recognised resends. */
export class SimulatedKafka implements ProduceSender {
  readonly logs = new Map<string, Log>()
  readonly sends: { leader: number; batches: readonly PartitionBatch[]; identity: ProducerIdentity }[] = []
  readonly held: Held[] = []
  /** Requests wait in `held` for the test to let them go. */
  holding = false
  identities = 0
  views = new Map<string, TopicView>()
  nextFault: (batch: PartitionBatch) => Fault = () => 'fine'
  readonly #open = new Map<number, Set<(report: SendReport) => void>>()

  constructor(topics: Record<string, (number | null)[]>) {
    for (const [topic, leaders] of Object.entries(topics)) {
      this.views.set(topic, { status: 'known', leaders, replicas: 1 })
    }
  }

  log(key: string): readonly string[] {
    return this.logs.get(key)?.records ?? []
  }

  leaders(topics: readonly string[]): Promise<ReadonlyMap<string, TopicView>> {
    return Promise.resolve(new Map([...this.views].filter(([topic]) => topics.includes(topic))))
  }

  identity(): Promise<ProducerIdentity> {
    this.identities += 1
    return Promise.resolve({ producerId: String(this.identities), epoch: 0, sequences: new Map() })
  }

  async send(
    leader: number,
    identity: ProducerIdentity,
    batches: readonly PartitionBatch[],
  ): Promise<SendReport> {
    this.sends.push({ leader, batches, identity })
    const { promise, resolve } = Promise.withResolvers<SendReport>()
    const open = this.#open.get(leader) ?? new Set()
    this.#open.set(leader, open.add(resolve))
    const release = (fault?: Fault) => {
      const report = this.#handle(identity, batches, fault)
      if (report !== null) resolve(report)
    }
    if (this.holding) this.held.push({ leader, batches, release })
    else release()
    const report = await promise
    open.delete(resolve)
    return report
  }

  drop(leader: number): void {
    for (const resolve of this.#open.get(leader) ?? []) {
      resolve({ status: 'lost', code: 'kafka_no_answer', message: 'dropped' })
    }
  }

  close(): void {
    this.holding = false
  }

  #handle(identity: ProducerIdentity, batches: readonly PartitionBatch[], given?: Fault): SendReport | null {
    const faults = batches.map((batch) => given ?? this.nextFault(batch))
    if (faults.includes('not_sent'))
      return { status: 'not_sent', code: 'kafka_unreachable', message: 'refused' }
    const lost = { status: 'lost', code: 'kafka_no_answer', message: 'no answer' } as const
    if (faults.includes('request_lost')) return lost
    const partitions = batches.flatMap((batch, index) =>
      this.#write(identity, batch, faults[index] ?? 'fine'),
    )
    return faults.includes('answer_lost') ? lost : { status: 'answered', partitions }
  }

  #write(identity: ProducerIdentity, batch: PartitionBatch, fault: Fault): PartitionAnswer[] {
    const { topic, partition } = batch
    const answer = (errorCode: number, baseOffset = -1) => [
      { topic, partition, errorCode, baseOffset, logAppendTime: errorCode === 0 ? 1_000 + baseOffset : -1 },
    ]
    if (fault === 'moved') return answer(NOT_LEADER)
    if (fault === 'not_enough_replicas') return answer(NOT_ENOUGH_REPLICAS)
    if (fault === 'too_large') return answer(MESSAGE_TOO_LARGE)
    const base = this.#append(identity, batch)
    if (base === null) return answer(OUT_OF_ORDER)
    if (fault === 'moved_after_append') return answer(NOT_LEADER)
    return fault === 'left_out' ? [] : answer(0, base)
  }

  #append({ producerId }: ProducerIdentity, batch: PartitionBatch): number | null {
    const key = `${batch.topic}/${batch.partition}`
    const log: Log = this.logs.get(key) ?? { records: [], producers: new Map() }
    this.logs.set(key, log)
    const producer = log.producers.get(producerId) ?? { next: 0, batches: new Map() }
    log.producers.set(producerId, producer)
    const known = producer.batches.get(batch.firstSequence)
    if (known?.count === batch.records.length) return known.base
    if (batch.firstSequence !== producer.next) return null
    const base = log.records.length
    for (const { value } of batch.records) log.records.push(String(value))
    producer.batches.set(batch.firstSequence, { count: batch.records.length, base })
    producer.next += batch.records.length
    return base
  }
}
