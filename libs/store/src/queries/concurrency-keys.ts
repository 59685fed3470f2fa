import { concurrencyKeyOfInput } from '@headrace/core'
import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** A key of a workflow's concurrency rule: what `admitRuns` is asked for when it may have room. */
export interface ConcurrencyKey {
  workflow: string
  key: string
}

/** Of a run `r` that was started, or queued again, just now. */
export const heldColumn = `case when r.status = 'queued' and r.blocked_reason = 'concurrency' then r.concurrency_key end as held_key`

export interface HeldRow {
  workflow: string
  /** Its key, where it waits to be let in; null: it may be claimed. */
  held_key: string | null
}

export const heldOf = ({ workflow, held_key: key }: HeldRow): ConcurrencyKey | null =>
  key === null ? null : { workflow, key }

/** Rows as the runs that may be claimed, and the keys of those that have to be let in. */
export function apart<Row extends HeldRow>(rows: readonly Row[]): { free: Row[]; held: ConcurrencyKey[] } {
  return { free: rows.filter((row) => row.held_key === null), held: rows.flatMap((row) => heldOf(row) ?? []) }
}

/**
 * What a new run takes from its workflow's rule, in SQL: held if there is one, whoever read it before, under this key or
 * under that of runs without one. `limit`: the workflow's, in the same statement.
 */
export const heldBy = (limit: string, key: string): { reason: string; key: string } => ({
  reason: `case when ${limit} is not null then 'concurrency' end`,
  key: `case when ${limit} is not null then coalesce(${key}, '') end`,
})

const expressionsStatement = statement(
  'concurrency_expressions',
  `select w.id, w.concurrency_key from (select distinct id from unnest($1::text[]) u(id)) u
   cross join lateral (select w.id, w.concurrency_key from workflows w where w.id = u.id and w.concurrency_key is not null offset 0) w`,
)

const expressionsOfRunsStatement = statement(
  'concurrency_expressions_of_runs',
  `select r.id, r.input, w.concurrency_key from unnest($1::uuid[]) u(id)
   cross join lateral (select r.id, r.workflow, r.input from runs r where r.id = u.id offset 0) r
   cross join lateral (select w.concurrency_key from workflows w where w.id = r.workflow and w.concurrency_key is not null offset 0) w`,
)

/** `failed`: why there is no key. Null key: the workflow's rule has no expression, or the workflow has no rule. */
export type KeyOfStart = { kind: 'key'; key: string | null } | { kind: 'failed'; reason: string }

const noKey: KeyOfStart = { kind: 'key', key: null }

/**
 * The keys of runs that are about to be started with an input (JSON text), index-aligned. One look for all; a workflow whose
 * rule has no expression, or that has none, costs no more than that.
 */
export async function keysOfStarts(
  { hot }: Store,
  starts: readonly { workflow: string; input: string | null }[],
): Promise<KeyOfStart[]> {
  if (starts.length === 0) return []
  const rows = await run<{ id: string; concurrency_key: string }>(hot, expressionsStatement, [
    starts.map(({ workflow }) => workflow),
  ])
  const expressions = new Map(rows.map((row) => [row.id, row.concurrency_key]))
  return starts.map(({ workflow, input }) => {
    const expression = expressions.get(workflow)
    return expression === undefined ? noKey : (concurrencyKeyOfInput(expression, input) ?? noKey)
  })
}

/**
 * The keys under which these runs are retried, by id: of their input, by the rule of their workflow as it is now. Where that
 * fails on it, it is that of runs without one: the run was started once, and what fails is a rule that came later.
 */
export async function keysOfRetries(
  { hot }: Store,
  runIds: readonly string[],
): Promise<Map<string, string | null>> {
  const rows = await run<{ id: string; input: string | null; concurrency_key: string }>(
    hot,
    expressionsOfRunsStatement,
    [runIds],
  )
  return new Map(
    rows.map((row) => {
      const answer = concurrencyKeyOfInput(row.concurrency_key, row.input)
      return [row.id, answer?.kind === 'key' ? answer.key : null]
    }),
  )
}
