import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement, transaction } from '../statement.ts'
import { requeueForgotten } from './recover-runs.ts'
import type { TaskSeed } from './task-seed.ts'
import type { NewWorker } from './workers.ts'

/** Only of its own app, queue and key: an id is no secret. A process keeps its key, which may have been told it while keys were off. */
const retireStatement = statement(
  'retire_worker',
  `update workers set status = 'dead', died_at = now()
   where id = $1 and app = $2 and queue = $3 and coalesce(key_id = $4, true) and status <> 'dead' returning id`,
)

/** Runs a statement gives back: keeps its locks short. */
const replaceBatch = 1_000

const inHandStatement = statement(
  'runs_in_hand',
  `select r.id, r.epoch from runs r where r.status = 'running' and r.worker_id = $1 order by r.id limit ${replaceBatch}`,
)

/**
 * A worker came back under a new id and has dropped what it had in hand under the old one: those runs are queued again
 * now, and nothing more is claimed under that id. Returns their next tasks. Where the old id was declared dead before,
 * there is nothing to do: recovery takes its runs back, by its own rules.
 */
export async function replaceWorker(
  store: Store,
  { workerId, app, queue, keyId }: Pick<NewWorker, 'app' | 'queue' | 'keyId'> & { workerId: string },
): Promise<TaskSeed[]> {
  // One transaction: between the verdict and the giving back, recovery would count a loss for each of the runs.
  return await withRetries(
    async () =>
      await transaction(store.hot, async (client) => {
        const retired = await run(client, retireStatement, [workerId, app, queue, keyId])
        const seeds: TaskSeed[] = []
        for (let more = retired.length > 0; more;) {
          const rows = await run<{ id: string; epoch: number }>(client, inHandStatement, [workerId])
          const runs = rows.map(({ id, epoch }) => ({ runId: id, epoch }))
          const requeued = await requeueForgotten(client, { workerId, runs })
          seeds.push(...requeued)
          more = rows.length === replaceBatch && requeued.length > 0
        }
        return seeds
      }),
  )
}
