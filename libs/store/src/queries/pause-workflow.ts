import type { Store } from '../connection.ts'

/**
 * Pauses or resumes a workflow; false when there is none, or it is retired. Paused, none of its runs begins: they are made
 * as ever and stay queued, and those that have begun go on. Nothing of the runs is touched: claims ask for it. So it
 * counts from the commit on, and resumed runs are found by those who look for queued ones.
 */
export async function setWorkflowPaused(store: Store, id: string, paused: boolean): Promise<boolean> {
  const { rowCount } = await store.general.query(
    `update workflows
     set paused_at = case when $2 then coalesce(paused_at, now()) end,
         updated_at = case when (paused_at is not null) = $2 then updated_at else now() end
     where id = $1 and status <> 'retired'`,
    [id, paused],
  )
  return rowCount === 1
}
