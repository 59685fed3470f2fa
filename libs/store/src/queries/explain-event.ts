import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { storableName } from '../storable-name.ts'
import type { EventPosition } from './enter-event-ids.ts'
import type { WaitRef } from './wait-ref.ts'

/** An event by its position, as it is explained. */
export interface ExplainedEvent {
  stream: string
  partition: number
  sequenceId: number
}

/** A run that was handed an event. */
export interface EventRun {
  triggerId: string
  runId: string
  input: string
}

/**
 * Windows of a trigger that begin at or before an event, the nearest first, of which so many are looked at: more than there
 * may be open windows at a time, which all may span the event. Only those that name its offset are read.
 */
const WINDOWS_MAX = 12_000
/** Runs of one event and trigger that are shown: retries and replays. */
const RUNS_MAX = 20

const runsStatement = statement(
  'runs_with_event',
  `select u.trigger_id, r.id, r.input from unnest($1::text[]) u(trigger_id)
   cross join lateral (
     select c.id, c.input from (
       select r.id, r.input, r.last_offset from runs r
       where r.trigger_id = u.trigger_id and r.stream = $2 and r.partition = $3 and r.first_offset <= $4
       order by r.first_offset desc limit ${WINDOWS_MAX}) c
     where c.last_offset >= $4 and strpos(c.input, '"sequence_id":' || $4::int8 || ',') > 0
     limit ${RUNS_MAX}) r
   order by u.trigger_id, r.id`,
)

/** Runs of these triggers whose window may hold the event: the input decides. */
export async function runsWithEvent(
  store: Store,
  triggerIds: readonly string[],
  { stream, partition, sequenceId }: ExplainedEvent,
): Promise<EventRun[]> {
  if (triggerIds.length === 0) return []
  const values = [triggerIds, stream, partition, sequenceId]
  const rows = await run<{ trigger_id: string; id: string; input: string }>(
    store.general,
    runsStatement,
    values,
  )
  return rows.map(({ trigger_id: triggerId, id: runId, input }) => ({ triggerId, runId, input }))
}

const firstStatement = statement(
  'first_position_of_event_id',
  `select e.incarnation, e.partition, e.sequence_id from event_ids e where e.stream = $1 and e.source = $2 and e.id = $3`,
)

/** The position at which an id was seen first; null when it is not known (any more). */
export async function firstPositionOf(
  store: Store,
  { stream, source, id }: { stream: string; source: string; id: string },
): Promise<EventPosition | null> {
  const [row] = await run<{ incarnation: number; partition: number; sequence_id: number }>(
    store.general,
    firstStatement,
    [stream, storableName(source), storableName(id)],
  )
  if (row === undefined) return null
  return { incarnation: row.incarnation, partition: row.partition, sequenceId: row.sequence_id }
}

/** An event answers every open wait that it matches; so many are shown. */
const ANSWERED_MAX = 200

const answeredStatement = statement(
  'answered_by',
  `select w.run_id, w.key from waits w
   where w.stream = $1 and w.answered_partition = $2 and w.answered_offset = $3 and w.answered_incarnation = $4
   order by w.run_id, w.key limit ${ANSWERED_MAX}`,
)

/** The waits that an event answered; the first 200. */
export async function answeredBy(
  store: Store,
  { stream, partition, sequenceId, incarnation }: ExplainedEvent & { incarnation: number },
): Promise<WaitRef[]> {
  const values = [stream, partition, sequenceId, incarnation]
  const rows = await run<{ run_id: string; key: string }>(store.general, answeredStatement, values)
  return rows.map(({ run_id: runId, key }) => ({ runId, key }))
}
