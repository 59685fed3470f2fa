import { type CoalescingProducer, deadLettersTopic, type IncomingRecord } from '@headrace/broker'
import { ridingHeaders } from '@headrace/core'
import { type Clock, limited, type Logger } from '@headrace/service'

/** A record of the response topic that cannot become a response. */
export interface RefusedResponse {
  /** Stable, one of a few: it is a metrics label. */
  reason: string
  detail: string
  /** Of the response topic. */
  partition: number
  record: Pick<IncomingRecord, 'offset' | 'value' | 'headers'>
}

/**
 * Writes dead letters, and resolves when all of them are acknowledged: the correlator's cursor passes them then, and not
 * before. Waits out any outage of Kafka; rejects only when `signal` is aborted.
 */
export type SetAside = (refused: readonly RefusedResponse[], signal: AbortSignal) => Promise<void>

export interface SetAsideOptions {
  producer: Pick<CoalescingProducer, 'produce'>
  prefix: string
  /** The response topic. */
  topic: string
  written: (reason: string) => void
  log: Logger
  clock: Clock
}

/** Kept of a value; a dead letter that is too large for its topic would stop the partition for good. */
const VALUE_BYTES_MAX = 1_000_000
/** The record's own headers ride along up to this size in all. */
const HEADERS_BYTES_MAX = 100_000
const DETAIL_CHARACTERS_MAX = 1_000
const PAUSE_FIRST_MS = 100
const PAUSE_MAX_MS = 5_000
const SAY_EVERY_MS = 10_000

export function createSetAside({ producer, prefix, topic, written, log, clock }: SetAsideOptions): SetAside {
  const letters = deadLettersTopic(prefix).name
  const said = limited(log, 'correlation.set_aside', SAY_EVERY_MS, clock)
  return async (refused, signal) => {
    let left = refused
    for (let failures = 0; left.length > 0; failures += 1) {
      signal.throwIfAborted()
      const outcomes = await producer.produce(left.map((each) => letterOf(each, topic, letters)))
      for (const [index, { reason, partition, record, detail }] of left.entries()) {
        if (outcomes[index]?.status !== 'written') continue
        written(reason)
        log.warn(
          { event: 'response.set_aside', code: reason, topic, partition, offset: record.offset, detail },
          'a record of the response topic is set aside',
        )
      }
      // What is of unknown fate is written again: twice is better than not at all.
      left = left.filter((_, index) => outcomes[index]?.status !== 'written')
      if (left.length === 0) return
      said.warn(
        { event: 'dead_letter.delayed', code: 'dead_letter_not_written', waiting: left.length },
        'Kafka does not take dead letters; their partition waits',
      )
      await clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** failures), signal)
    }
  }
}

function letterOf({ reason, detail, partition, record }: RefusedResponse, origin: string, topic: string) {
  const { offset, value, headers: own } = record
  const truncated = value !== null && value.byteLength > VALUE_BYTES_MAX
  let bytes = 0
  for (const [name, header] of Object.entries(own)) bytes += name.length + header.byteLength
  const headers: Record<string, string | Buffer> = {
    ...(bytes > HEADERS_BYTES_MAX ? {} : ridingHeaders(own)),
    reason,
    detail: detail.slice(0, DETAIL_CHARACTERS_MAX),
    kafka_topic: origin,
    partition: String(partition),
    offset: String(offset),
  }
  if (truncated) headers['truncated'] = '1'
  return {
    topic,
    partition: null,
    key: `${origin}/${partition}/${offset}`,
    value: truncated ? value.subarray(0, VALUE_BYTES_MAX) : value,
    headers,
  }
}
