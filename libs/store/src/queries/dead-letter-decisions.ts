import { numberArray } from '../array-parameter.ts'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'

/** Names a dead letter: where it lies on its topic, and the log time of its record there. */
export interface DeadLetterRef {
  partition: number
  sequenceId: number
  /** Ms since 1970. */
  logTimeMs: number
}

/** Who decides about a dead letter, and why, as they said. */
export interface DecisionBy {
  reason: string | null
  by: string | null
}

/** What became of a dead letter. Nothing was decided about one that has no row. */
export interface DeadLetterDecision {
  status: 'open' | 'redriven' | 'discarded'
  /** The run that a window became. */
  runId: string | null
  reason: string | null
  decidedAt: number | null
  decidedBy: string | null
}

interface DecisionRow {
  at: number
  status: DeadLetterDecision['status']
  run_id: string | null
  reason: string | null
  decided_at: number | null
  decided_by: string | null
}

const undecided: DeadLetterDecision = {
  status: 'open',
  runId: null,
  reason: null,
  decidedAt: null,
  decidedBy: null,
}

const decisionsStatement = statement(
  'dead_letter_decisions',
  `select u.at::int, d.status, d.run_id, d.reason, d.decided_at, d.decided_by
   from unnest($1::int[], $2::int8[], $3::float8[]) with ordinality u(partition, sequence_id, log_time, at)
   cross join lateral (
     select * from dead_letters d
     where d.partition = u.partition and d.sequence_id = u.sequence_id and d.log_time = to_timestamp(u.log_time / 1000) offset 0) d`,
)

/** What was decided about some dead letters, in their order. */
export async function deadLetterDecisions(
  store: Store,
  refs: readonly DeadLetterRef[],
): Promise<DeadLetterDecision[]> {
  if (refs.length === 0) return []
  const rows = await run<DecisionRow>(store.general, decisionsStatement, [
    numberArray(refs.map(({ partition }) => partition)),
    numberArray(refs.map(({ sequenceId }) => sequenceId)),
    numberArray(refs.map(({ logTimeMs }) => logTimeMs)),
  ])
  const byPlace = new Map(rows.map((row) => [row.at, row]))
  return refs.map((_, index) => {
    const row = byPlace.get(index + 1)
    if (row === undefined) return undecided
    const { status, run_id: runId, reason, decided_at: decidedAt, decided_by: decidedBy } = row
    return { status, runId, reason, decidedAt, decidedBy }
  })
}

/** One of two decisions at once waits for the other's row, finds it decided, and changes nothing. */
const decideStatement = statement(
  'decide_dead_letter',
  `insert into dead_letters as d (partition, sequence_id, log_time, status, reason, decided_at, decided_by)
   values ($1, $2, to_timestamp($3::float8 / 1000), $4, $5, now(), $6)
   on conflict (partition, sequence_id, log_time) do update
     set status = excluded.status, reason = excluded.reason, decided_at = now(), decided_by = excluded.decided_by
     where d.status || '' = 'open'
   returning 1 as decided`,
)

/** False: somebody has decided before; that stands. */
export async function decideDeadLetter(
  store: Store,
  ref: DeadLetterRef,
  { status, reason, by }: DecisionBy & { status: 'redriven' | 'discarded' },
): Promise<boolean> {
  const values = [ref.partition, ref.sequenceId, ref.logTimeMs, status, reason, by]
  const rows = await withRetries(async () => await run(store.general, decideStatement, values))
  return rows.length > 0
}

const beginStatement = statement(
  'begin_redrive',
  `insert into dead_letters as d (partition, sequence_id, log_time, begun_at)
   values ($1, $2, to_timestamp($3::float8 / 1000), now())
   on conflict (partition, sequence_id, log_time) do update set begun_at = coalesce(d.begun_at, now())
     where d.status || '' = 'open'
   returning (extract(epoch from now() - d.begun_at) * 1000)::float8 as begun_ms`,
)

/**
 * Notes that the record of an open dead letter is about to be published again. Answers how long ago that was noted
 * first, in ms: within the time in which repeats are known, publishing it once more does no harm. Null: it is decided.
 */
export async function beginRedrive(store: Store, ref: DeadLetterRef): Promise<{ begunMs: number } | null> {
  const values = [ref.partition, ref.sequenceId, ref.logTimeMs]
  const [row] = await withRetries(
    async () => await run<{ begun_ms: number }>(store.general, beginStatement, values),
  )
  return row === undefined ? null : { begunMs: row.begun_ms }
}

const countStatement = statement(
  'count_decided_dead_letters',
  `select count(*)::int as decided
   from unnest($1::int[], $2::int8[], $3::int8[]) u(partition, low, high)
   cross join lateral (
     select from dead_letters d
     where d.partition = u.partition and d.sequence_id >= u.low and d.sequence_id < u.high and d.status || '' <> 'open' offset 0) d`,
)

/** How many of the dead letters in these stretches of their topic are redriven or discarded. */
export async function countDecidedDeadLetters(
  store: Store,
  stretches: readonly { partition: number; low: number; high: number }[],
): Promise<number> {
  const [row] = await run<{ decided: number }>(store.general, countStatement, [
    numberArray(stretches.map(({ partition }) => partition)),
    numberArray(stretches.map(({ low }) => low)),
    numberArray(stretches.map(({ high }) => high)),
  ])
  return row?.decided ?? 0
}

/** Decisions are kept for 90 days: three times as long as Kafka keeps dead letters, segments that close late included. */
const KEPT_MS = 90 * 86_400_000

const dropStatement = statement(
  'drop_dead_letter_decisions',
  `delete from dead_letters d where d.log_time < now() - make_interval(secs => $1::float8 / 1000) returning 1 as dropped`,
)

/** Lets decisions go whose records are long gone from the log. */
export async function dropOldDecisions(store: Store): Promise<number> {
  return (await run(store.general, dropStatement, [KEPT_MS])).length
}
