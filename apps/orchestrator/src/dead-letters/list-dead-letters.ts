import { type Broker, BrokerError, deadLettersTopic } from '@headrace/broker'
import { decodeDeadLetter, type DeadLetterRecord } from '@headrace/core'
import { type DeadLetterDecision, deadLetterDecisions, type Store } from '@headrace/store'
import { readNewestFirst } from './newest-first.ts'

/** All conditions hold together; null asks for nothing. */
interface DeadLetterFilter {
  reason: string | null
  trigger: string | null
  status: DeadLetterDecision['status'] | null
}

/** Without what was set aside itself, which may be a megabyte. */
export type DeadLetterOutline = Omit<DeadLetterRecord, 'value' | 'headers' | 'recordKey'>

export interface DecidedLetter<Letter = DeadLetterOutline> {
  letter: Letter
  decision: DeadLetterDecision
}

export interface DeadLetterPage {
  letters: DecidedLetter[]
  /** Records that were looked at. */
  scanned: number
  /** Where the next page goes on; empty at the end. */
  below: Map<number, number>
}

export interface ListDeadLetters {
  broker: Pick<Broker, 'readRange' | 'offsets'>
  store: Store
  prefix: string
  filter: DeadLetterFilter
  limit: number
  /** Where the page before ended; null: the end of the log as it is now. */
  below: ReadonlyMap<number, number> | null
  /** A clock that only goes forward, ms. */
  monotonic: () => number
  signal: AbortSignal
}

/** A rare dead letter must not keep a caller waiting for the whole topic: the page ends, and the next goes on. */
const SCAN_RECORDS_MAX = 10_000
export const SCAN_MS_MAX = 2_000

/** One page, the newest first. A topic that nobody has written to or made has none. */
export async function listDeadLetters(options: ListDeadLetters): Promise<DeadLetterPage> {
  const { broker, store, filter, limit, monotonic, signal } = options
  const topic = deadLettersTopic(options.prefix).name
  const page: DeadLetterPage = { letters: [], scanned: 0, below: new Map() }
  const marks = await marksOf(broker, topic)
  const spans = new Map(
    [...marks].flatMap(([partition, { low, high }]) => {
      const below = options.below === null ? high : options.below.get(partition)
      return below === undefined ? [] : [[partition, { low, below: Math.min(below, high) }] as const]
    }),
  )
  const records = readNewestFirst({ broker, topic, spans, signal, keep: outlineOf })
  const until = monotonic() + SCAN_MS_MAX
  while (page.letters.length < limit) {
    const { candidates, scanned, isOver } = await nextCandidates()
    page.scanned += scanned
    const decisions = await deadLetterDecisions(store, candidates.map(refOf))
    for (const [index, letter] of candidates.entries()) {
      const decision = decisions[index]
      if (decision !== undefined && (filter.status === null || decision.status === filter.status))
        page.letters.push({ letter, decision })
    }
    if (isOver) break
  }
  return { ...page, below: records.rest() }

  /** As many as the page still has room for, so that none that was read is left out of it. */
  async function nextCandidates() {
    const candidates: DeadLetterOutline[] = []
    for (let scanned = 0; ; scanned += 1) {
      const isOver = page.scanned + scanned >= SCAN_RECORDS_MAX || monotonic() > until
      if (isOver || candidates.length >= limit - page.letters.length) return { candidates, scanned, isOver }
      const letter = await records.next()
      if (letter === null) return { candidates, scanned, isOver: true }
      const { reason, trigger } = filter
      if ((reason === null || letter.reason === reason) && (trigger === null || letter.triggerId === trigger))
        candidates.push(letter)
    }
  }
}

/** Where a dead letter's decision stands. */
export const refOf = ({ partition, offset, timestamp }: DeadLetterOutline) => ({
  partition,
  sequenceId: offset,
  logTimeMs: timestamp,
})

function outlineOf(partition: number, record: Parameters<typeof decodeDeadLetter>[1]): DeadLetterOutline {
  const {
    value: _value,
    headers: _headers,
    recordKey: _key,
    ...outline
  } = decodeDeadLetter(partition, record)
  return outline
}

async function marksOf(
  broker: Pick<Broker, 'offsets'>,
  topic: string,
): Promise<Map<number, { low: number; high: number }>> {
  try {
    return await broker.offsets(topic)
  } catch (error) {
    if (error instanceof BrokerError && error.code === 'unknown_topic') return new Map()
    throw error
  }
}
