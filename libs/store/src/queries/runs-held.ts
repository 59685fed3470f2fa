import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/**
 * The fence of a publish, which no statement of its own can carry: what Kafka has taken is not rolled back. A plain read
 * is enough. A run that is lost in between has published an event that its next epoch publishes again under the same
 * id, and lanes drop the second.
 */
export const runsHeldStatement = statement(
  'runs_held',
  `select u.at::int as at, r.traceparent
   from unnest($1::uuid[], $2::int[], $3::text[]) with ordinality u(id, epoch, worker_id, at)
   cross join lateral (
     select r.traceparent from runs r
     where r.id = u.id and r.epoch = u.epoch and r.worker_id = u.worker_id and r.status || '' = 'running' offset 0) r`,
)

/** A run in the hands of the worker that asks. */
export interface HeldRun {
  traceparent: string | null
}

/** Which of these runs are in that worker's hands at that epoch, each at its index; null: lost. */
export async function runsHeld(
  store: Store,
  items: readonly { runId: string; epoch: number; workerId: string }[],
): Promise<(HeldRun | null)[]> {
  const held = items.map((): HeldRun | null => null)
  const rows = await run<{ at: number; traceparent: string | null }>(store.hot, runsHeldStatement, [
    items.map(({ runId }) => runId),
    items.map(({ epoch }) => epoch),
    items.map(({ workerId }) => workerId),
  ])
  for (const { at, traceparent } of rows) held[at - 1] = { traceparent }
  return held
}
