import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { EventPosition } from './enter-event-ids.ts'
import type { ExplainedEvent } from './explain-event.ts'

/** An event that nobody was handed, because its id stood for another one. */
export interface RepeatDecision extends EventPosition {
  stream: string
  /** Where its id was seen first. */
  first: EventPosition
}

/** How long decisions are kept, ms: 7 days. By then nobody asks any more what became of an event. */
export const decisionsKeptMsDefault = 7 * 86_400_000

/** Read again and decided again, it is the same decision. In key order, so that two who record the same never wait in a circle. */
export const recordRepeatsStatement = statement(
  'record_repeats',
  `insert into decisions (kind, stream, partition, incarnation, sequence_id, last_sequence_id, first_incarnation, first_partition, first_sequence_id)
   select 'repeat', u.stream, u.partition, u.incarnation, u.sequence_id, u.sequence_id, u.first_incarnation, u.first_partition, u.first_sequence_id
   from unnest($1::text[], $2::int[], $3::int[], $4::int8[], $5::int[], $6::int[], $7::int8[])
     u(stream, partition, incarnation, sequence_id, first_incarnation, first_partition, first_sequence_id)
   order by u.stream, u.partition, u.incarnation, u.sequence_id
   on conflict do nothing`,
)

/** Keeps what became of repeats for as long as decisions are kept, which is longer than their ids are known. */
export async function recordRepeats(store: Store, repeats: readonly RepeatDecision[]): Promise<void> {
  if (repeats.length === 0) return
  const values = [
    repeats.map(({ stream }) => stream),
    repeats.map(({ partition }) => partition),
    repeats.map(({ incarnation }) => incarnation),
    repeats.map(({ sequenceId }) => sequenceId),
    repeats.map(({ first }) => first.incarnation),
    repeats.map(({ first }) => first.partition),
    repeats.map(({ first }) => first.sequenceId),
  ]
  await withRetries(async () => await run(store.hot, recordRepeatsStatement, values))
}

export const repeatAtStatement = statement(
  'repeat_at',
  `select d.first_incarnation as incarnation, d.first_partition as partition, d.first_sequence_id as "sequenceId"
   from decisions d
   where d.kind = 'repeat' and d.stream = $1 and d.partition = $2 and d.incarnation = $3 and d.trigger_id = '' and d.sequence_id = $4`,
)

/** Where the id of an event that was passed over as a repeat was seen first; null: no such decision is kept. */
export async function repeatAt(
  store: Store,
  { stream, partition, incarnation, sequenceId }: ExplainedEvent & { incarnation: number },
): Promise<EventPosition | null> {
  const values = [stream, partition, incarnation, sequenceId]
  const [row] = await run<EventPosition & Record<string, unknown>>(store.general, repeatAtStatement, values)
  return row ?? null
}

export const repeatsAtStatement = statement(
  'repeats_at',
  `select u.at::int as at, d.first_incarnation as incarnation, d.first_partition as partition, d.first_sequence_id as "sequenceId"
   from unnest($1::text[], $2::int[], $3::int[], $4::int8[]) with ordinality u(stream, partition, incarnation, sequence_id, at)
   cross join lateral (
     select d.first_incarnation, d.first_partition, d.first_sequence_id from decisions d
     where d.kind = 'repeat' and d.stream = u.stream and d.partition = u.partition and d.incarnation = u.incarnation
       and d.trigger_id = '' and d.sequence_id = u.sequence_id offset 0) d`,
)

/** For each place where the id of its event was seen first; null: no decision is kept that it was passed over as a repeat. */
export async function repeatsAt(
  store: Store,
  places: readonly (EventPosition & { stream: string })[],
): Promise<(EventPosition | null)[]> {
  const firsts = new Map<number, EventPosition>()
  const rows = await run<EventPosition & { at: number }>(store.hot, repeatsAtStatement, [
    places.map(({ stream }) => stream),
    places.map(({ partition }) => partition),
    places.map(({ incarnation }) => incarnation),
    places.map(({ sequenceId }) => sequenceId),
  ])
  for (const { at, ...first } of rows) firsts.set(at, first)
  return places.map((_, index) => firsts.get(index + 1) ?? null)
}

/** Events that a trigger was set behind, unread: retention was faster, and its policy is to go on. */
export interface GapDecision {
  triggerId: string
  fromSequenceId: number
  toSequenceId: number
}

/** A trigger meets a gap when it was away for as long as its stream keeps events: they are few. */
const gapsMax = 100

const gapsOverStatement = statement(
  'gaps_over',
  `select d.trigger_id as "triggerId", d.sequence_id as "fromSequenceId", d.last_sequence_id as "toSequenceId"
   from decisions d
   where d.kind = 'gap' and d.stream = $1 and d.partition = $2 and d.sequence_id <= $3 and d.last_sequence_id >= $3
   order by d.incarnation desc, d.trigger_id, d.sequence_id limit ${gapsMax}`,
)

/** The gaps in which a position lies, at most 100. */
export async function gapsOver(
  store: Store,
  { stream, partition, sequenceId }: ExplainedEvent,
): Promise<GapDecision[]> {
  return await run<GapDecision & Record<string, unknown>>(store.general, gapsOverStatement, [
    stream,
    partition,
    sequenceId,
  ])
}

/** Rows of one delete: some ms. */
const sweepBatch = 10_000
/** Of one sweep; then it says that there is more. */
const sweepBatchesMax = 50

export const sweepDecisionsStatement = statement(
  'sweep_decisions',
  `delete from decisions where ctid = any (array(
     select d.ctid from decisions d where d.at < now() - make_interval(secs => $1::float8 / 1000) order by d.at limit $2))`,
)

/** Lets decisions go that are older. */
export async function sweepDecisions(store: Store, keptMs: number): Promise<{ more: boolean }> {
  const { name, text } = sweepDecisionsStatement
  for (let batch = 0; batch < sweepBatchesMax; batch += 1) {
    const { rowCount } = await store.general.query({ name, text, values: [keptMs, sweepBatch] })
    if ((rowCount ?? 0) < sweepBatch) return { more: false }
  }
  return { more: true }
}
