/**
 * Which event answers a wait: the rules of docs/guarantees.md (P5), without Postgres.
 *
 * W1  An event answers from the wait's `since` on, by the log's time.
 * W2  An event of the run's own window never answers.
 * W3  An event that the run received already, by a wait for the same topic with the same filter that it had seen answered
 *     when it called this one, does not answer again; nor does one before it on its partition.
 * W4  On one partition the lowest offset answers, whatever the log's times say: they may go backwards. Between partitions,
 *     where there is no order but time, the earliest of those.
 */
export interface WaitTerms {
  topic: string
  sinceMs: number
  /** W2: offsets of one partition, both ends included. */
  never: { incarnation: number; partition: number; from: number; to: number } | null
  /** W3: the last offset received on each partition. */
  received: readonly { incarnation: number; partition: number; offset: number }[]
}

/** Where an event stands in its stream's log. A topic has one stream, so that goes unsaid. */
export interface EventPlace {
  incarnation: number
  partition: number
  sequenceId: number
  logTimeMs: number
}

interface LogPartition {
  incarnation: number
  partition: number
}

const isSame = (a: LogPartition, b: LogPartition): boolean =>
  a.incarnation === b.incarnation && a.partition === b.partition

/** The offset above which a wait looks on a partition. */
export function lookAbove(terms: Pick<WaitTerms, 'never' | 'received'>, where: LogPartition): number {
  const received = terms.received.find((each) => isSame(each, where))?.offset ?? -1
  const never = neverOn(terms, where)
  return never?.from === 0 ? Math.max(received, never.to) : received
}

/** The offsets of a partition that never answer (W2), where there are such. */
export function neverOn(
  { never }: Pick<WaitTerms, 'never'>,
  where: LogPartition,
): { from: number; to: number } | null {
  return never !== null && isSame(never, where) ? never : null
}

/** W1 to W3. The topic is the caller's to compare. */
export function mayAnswer(terms: WaitTerms, place: EventPlace): boolean {
  if (place.logTimeMs < terms.sinceMs || place.sequenceId <= lookAbove(terms, place)) return false
  const never = neverOn(terms, place)
  return never === null || place.sequenceId < never.from || place.sequenceId > never.to
}

/** W4, among events that pass. */
export function firstOf<Event extends EventPlace>(events: Iterable<Event>): Event | null {
  const heads: Event[] = []
  for (const event of events) {
    const at = heads.findIndex((head) => isSame(head, event))
    if (at === -1) heads.push(event)
    else if (event.sequenceId < (heads[at]?.sequenceId ?? 0)) heads[at] = event
  }
  return heads.reduce<Event | null>(
    (first, head) => (first === null || isEarlier(head, first) ? head : first),
    null,
  )
}

function isEarlier(a: EventPlace, b: EventPlace): boolean {
  return (a.logTimeMs - b.logTimeMs || a.incarnation - b.incarnation || a.partition - b.partition) < 0
}
