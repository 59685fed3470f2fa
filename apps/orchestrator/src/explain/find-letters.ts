import { type Broker, BrokerError, deadLettersTopic } from '@headrace/broker'
import { decodeDeadLetter, type DeadLetterRecord } from '@headrace/core'
import { idOf } from '../dead-letters/dead-letter-desk.ts'

/** What was set aside of an event. `triggerId` is null for its record, which concerns all triggers. */
export interface FoundLetter {
  id: string
  triggerId: string | null
  reason: string
  detail: string
}

export interface FindLetters {
  broker: Pick<Broker, 'readRange' | 'offsetsForTime' | 'offsets'>
  prefix: string
  stream: string
  partition: number
  sequenceId: number
  /** Nothing was set aside before, ms since 1970. */
  since: number
  /** A clock that only goes forward, ms. */
  monotonic: () => number
  signal: AbortSignal
}

/** An explanation is not worth more; what lies behind it is not found, and the list of dead letters shows it. */
const SCAN_RECORDS_MAX = 10_000
const SCAN_MS_MAX = 2_000
/** The brokers' clocks may differ. */
const CLOCKS_APART_MS = 60_000

/** Dead letters that hold an event, of those that were written after it. */
export async function findLetters(options: FindLetters): Promise<FoundLetter[]> {
  const { broker, prefix, since, monotonic, signal } = options
  const topic = deadLettersTopic(prefix).name
  const found: FoundLetter[] = []
  const until = monotonic() + SCAN_MS_MAX
  let scanned = 0
  try {
    const firsts = await broker.offsetsForTime(topic, Math.max(0, since - CLOCKS_APART_MS))
    for (const [partition, from] of firsts) {
      if (from === null) continue
      for await (const { records } of broker.readRange({ topic, partition, from, to: null, signal })) {
        for (const record of records) {
          const letter = decodeDeadLetter(partition, record)
          if (!holds(letter, options)) continue
          const { triggerId, reason, detail } = letter
          found.push({ id: idOf(letter), triggerId, reason, detail })
        }
        scanned += records.length
        if (scanned >= SCAN_RECORDS_MAX || monotonic() > until) return found
      }
    }
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'unknown_topic') throw error
  }
  return found
}

function holds(
  { source, triggerId, value }: DeadLetterRecord,
  { stream, partition, sequenceId }: FindLetters,
): boolean {
  if (source === null || source.stream !== stream || source.partition !== partition) return false
  if (source.offset === sequenceId) return true
  // A window is named by its first event, and holds later ones.
  if (triggerId === null || source.offset > sequenceId || value === null) return false
  return isInInput(value.toString('utf8'), { sequenceId, id: null })
}

/** Whether the input of a run holds an event; by its id too, where that is known. */
export function isInInput(
  input: string,
  { sequenceId, id }: { sequenceId: number; id: string | null },
): boolean {
  if (!input.includes(`"sequence_id":${sequenceId},`)) return false
  try {
    const { events } = JSON.parse(input) as { events: { sequence_id: number; id: string }[] }
    return events.some((event) => event.sequence_id === sequenceId && (id === null || event.id === id))
  } catch {
    return false
  }
}
