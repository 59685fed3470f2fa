import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

const endedStatement = statement(
  'ended_runs',
  `select r.id from unnest($1::uuid[]) u(id)
   cross join lateral (select r.id from runs r where r.id = u.id and r.finished_at is not null) r`,
)

/** Which of these runs have ended. One question for all callers that wait for runs. */
export async function endedRuns(store: Store, runIds: string[]): Promise<string[]> {
  if (runIds.length === 0) return []
  const rows = await run<{ id: string }>(store.general, endedStatement, [runIds])
  return rows.map((row) => row.id)
}
