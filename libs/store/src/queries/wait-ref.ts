/** Names a wait: one step of one run. */
export interface WaitRef {
  runId: string
  key: string
}

/** The columns of refs, for `unnest($1::uuid[], $2::text[])`. */
export const refColumns = (refs: readonly WaitRef[]): [runIds: string[], keys: string[]] => [
  refs.map((ref) => ref.runId),
  refs.map((ref) => ref.key),
]

/** A map's key for a wait: a run id has a fixed length, so no two refs share one. */
export const refText = ({ runId, key }: WaitRef): string => `${runId}/${key}`

/** The step of the parent that started a run; null: it is no child. */
export const parentOf = (row: {
  parent_run_id: string | null
  parent_step_key: string | null
}): WaitRef | null =>
  row.parent_run_id === null || row.parent_step_key === null
    ? null
    : { runId: row.parent_run_id, key: row.parent_step_key }

/** Of a wait `w`, in SQL. Its run is looked up by its key (`offset 0`); waits of ended runs are left to the sweep. */
export const ofLiveRun = `exists (
       select 1 from (select r.status from runs r where r.id = w.run_id offset 0) r
       where r.status in ('queued', 'running', 'waiting', 'paused'))`
