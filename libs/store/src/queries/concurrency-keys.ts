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
