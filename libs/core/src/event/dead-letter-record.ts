/**
 * A dead letter as a Kafka record: what could not go on stands in the value, why and where it came from in headers,
 * beside the headers that the set-aside record had itself.
 *
 *     reason  detail  partition  offset  kafka_topic?  stream?  incarnation?  trigger_id?  run_id?  truncated?  record_key?
 *
 * With `run_id` the value is the input of a run that failed; with `trigger_id` alone it is the input of the run that a
 * window did not become; else it is a record's own value, and `record_key` that record's key.
 */
export interface DeadLetterRecord {
  /** Of the dead letter on its own topic. */
  readonly partition: number
  readonly offset: number
  /** ms since 1970; LogAppendTime. */
  readonly timestamp: number
  readonly reason: string
  readonly detail: string
  /** What it is about; null for a run that was started by API. `stream` is null for a record of another topic of ours. */
  readonly source: {
    readonly stream: string | null
    readonly kafkaTopic: string | null
    readonly partition: number
    readonly offset: number
  } | null
  readonly incarnation: number | null
  readonly triggerId: string | null
  readonly runId: string | null
  /** The value was larger than a dead letter may be, and was cut. */
  readonly truncated: boolean
  readonly recordKey: Buffer | null
  readonly value: Buffer | null
  /** The headers of the record that was set aside. */
  readonly headers: Readonly<Record<string, Buffer>>
}

/** What a dead letter says about itself: a record's own headers of these names do not ride along. */
const OWN_HEADERS = new Set([
  'reason',
  'detail',
  'stream',
  'kafka_topic',
  'partition',
  'offset',
  'incarnation',
  'trigger_id',
  'run_id',
  'truncated',
  'record_key',
])

/** A record's headers as they may ride along: a foreign `trigger_id` must not make a record look like a window. */
export function ridingHeaders<Value>(headers: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !OWN_HEADERS.has(name)))
}

interface RawDeadLetter {
  offset: number
  timestamp: number
  value: Buffer | null
  headers: Readonly<Record<string, Buffer>>
}

/** Never fails: what a foreign hand wrote to the topic is shown with what it says. */
export function decodeDeadLetter(partition: number, record: RawDeadLetter): DeadLetterRecord {
  const { offset, timestamp, value, headers } = record
  const text = (name: string): string | null => headers[name]?.toString('utf8') ?? null
  const number = (name: string): number | null => {
    const digits = text(name)
    return digits !== null && /^\d{1,15}$/.test(digits) ? Number(digits) : null
  }
  const [sourcePartition, sourceOffset] = [number('partition'), number('offset')]
  return {
    partition,
    offset,
    timestamp,
    reason: text('reason') ?? 'unknown',
    detail: text('detail') ?? '',
    source:
      sourcePartition === null || sourceOffset === null
        ? null
        : {
            stream: text('stream'),
            kafkaTopic: text('kafka_topic'),
            partition: sourcePartition,
            offset: sourceOffset,
          },
    incarnation: number('incarnation'),
    triggerId: text('trigger_id'),
    runId: text('run_id'),
    truncated: headers['truncated'] !== undefined,
    recordKey: headers['record_key'] ?? null,
    value,
    headers: ridingHeaders(headers),
  }
}
