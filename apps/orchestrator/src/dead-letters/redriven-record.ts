import type { OutgoingRecord, StreamCatalog } from '@headrace/broker'
import type { DeadLetterRecord } from '@headrace/core'
import { notRedrivable } from './redriven-window.ts'

/** Whose events these are; from outside no source may begin with `headrace:`. */
const SOURCE = 'headrace:dead-letter'

/**
 * The id under which a record is published again: it names the dead letter, and its time, because offsets begin anew on a
 * topic that was made anew. So a second redrive is a repeat, which lanes drop.
 */
export const redrivenEventId = ({ partition, offset, timestamp }: DeadLetterRecord | RedrivenName): string =>
  `dead-letter/${partition}.${offset}/${timestamp}`

export interface RedrivenName {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
}

/**
 * The record inside a dead letter, as it is published again: its key, value and headers, on its own partition, under the
 * dead letter's id. Throws `not_redrivable` where it would be set aside once more, and `schema_registry_unavailable`.
 */
export async function recordInside(
  letter: DeadLetterRecord,
  streams: Pick<StreamCatalog, 'bindingOf' | 'reader' | 'topicOf'>,
): Promise<OutgoingRecord> {
  const { source, value, recordKey: key } = letter
  const stream = source?.stream ?? null
  if (source === null || stream === null) throw notRedrivable('it is no record of a stream; discard it')
  if (streams.bindingOf(stream) !== null)
    throw notRedrivable(
      `its stream ${stream} is a Kafka topic that others write: have it written there again, or mend the rule of the stream and reset its triggers; then discard this`,
    )
  if (letter.truncated)
    throw notRedrivable(
      'its value was cut, because it is too large for a dead letter: publish the event again',
    )
  const headers: Record<string, Buffer | string> = {
    ...letter.headers,
    ce_id: redrivenEventId(letter),
    ce_source: SOURCE,
    'headrace-dedup': '1',
  }
  const { partition, offset } = source
  const read = await streams.reader(stream, [{ key, value }])
  const decoded = read({ partition, offset, timestamp: letter.timestamp, key, value, headers })
  if (decoded.kind === 'unreadable') {
    throw notRedrivable(
      `it is still no event (${decoded.reason}: ${decoded.detail}): publish what it meant as an event, then discard it`,
    )
  }
  return { topic: streams.topicOf(stream), partition, key, value, headers }
}
