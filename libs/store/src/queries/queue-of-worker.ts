import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

const queueStatement = statement('queue_of_worker', `select queue from workers where id = $1`)

/** The queue a worker registered for; it never changes under one id. Null: there is no such worker. */
export async function queueOfWorker(store: Store, workerId: string): Promise<string | null> {
  const [row] = await run<{ queue: string }>(store.general, queueStatement, [workerId])
  return row?.queue ?? null
}
