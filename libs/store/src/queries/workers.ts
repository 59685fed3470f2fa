import type { Store } from '../connection.ts'
import { type Connection, run, statement } from '../statement.ts'
import { workerDeadAfterMs } from './recover-runs.ts'

export interface NewWorker {
  id: string
  app: string
  build: string
  queue: string
  host: string
  sdk: string
  concurrency: number
  /** Ids of the workflows whose code it has. */
  workflows: string[]
}

const upsertStatement = statement(
  'upsert_worker',
  `insert into workers (id, app, build, queue, host, sdk, concurrency, workflows)
   values ($1, $2, $3, $4, $5, $6, $7, $8::text[])
   on conflict (id) do update
   set app = excluded.app, build = excluded.build, queue = excluded.queue, host = excluded.host, sdk = excluded.sdk,
       concurrency = excluded.concurrency, workflows = excluded.workflows, last_heartbeat_at = now()
   where workers.status <> 'dead'
   returning id`,
)

/** Writes a worker's row. False when that id was declared dead: a worker comes back under a new one. */
export async function upsertWorkerRow(connection: Connection, worker: NewWorker): Promise<boolean> {
  const rows = await run(connection, upsertStatement, [
    worker.id,
    worker.app,
    worker.build,
    worker.queue,
    worker.host,
    worker.sdk,
    worker.concurrency,
    worker.workflows,
  ])
  return rows.length > 0
}

/** As {@link upsertWorkerRow}, on its own. Registration does it inside {@link registerApp}'s transaction. */
export async function upsertWorker(store: Store, worker: NewWorker): Promise<boolean> {
  return await upsertWorkerRow(store.general, worker)
}

/** The queue a worker serves; null for an id that never registered. It never changes under one id. */
export async function queueOfWorker(store: Store, workerId: string): Promise<string | null> {
  const { rows } = await store.general.query<{ queue: string }>('select queue from workers where id = $1', [
    workerId,
  ])
  return rows[0]?.queue ?? null
}

export interface DispatchTarget {
  workerId: string
  queue: string
  /** Partitions of the queue's task topic that its last heartbeat listed. */
  partitions: number[]
  workflows: string[]
  build: string
  /** Those of its workflows whose runs go on only with the build on which they began. */
  pinned: string[]
  /** Those of its workflows of which no run begins. */
  paused: string[]
}

const targetsStatement = statement(
  'dispatch_targets',
  `select id, queue, partitions, workflows, build,
     array(select f.id from workflows f where f.on_deploy = 'pin' and f.id = any (workflows)) as pinned,
     array(select f.id from workflows f where f.paused_at is not null and f.id = any (workflows)) as paused
   from workers
   where status = 'live' and cardinality(partitions) > 0
     and last_heartbeat_at > now() - make_interval(secs => $1::float8 / 1000)
   order by last_heartbeat_at, id`,
)

/**
 * Who owns which task partitions, of the workers that live and are not draining. In the order of their heartbeats: two
 * that claim one partition are a rebalance in passing, and the later one is right.
 */
export async function dispatchTargets(store: Store): Promise<DispatchTarget[]> {
  const rows = await run<Omit<DispatchTarget, 'workerId'> & { id: string }>(store.general, targetsStatement, [
    workerDeadAfterMs,
  ])
  return rows.map(({ id, ...target }) => ({ workerId: id, ...target }))
}

const workerKeptMs = 24 * 3_600_000

/** Forgets workers that died a day ago and hold no run. Returns how many. */
export async function dropOldWorkers(store: Store): Promise<number> {
  const { rowCount } = await store.general.query(
    `delete from workers w
     where w.status = 'dead' and w.died_at < now() - make_interval(secs => $1::float8 / 1000)
       and not exists (select 1 from runs r where r.status = 'running' and r.worker_id = w.id)`,
    [workerKeptMs],
  )
  return rowCount ?? 0
}
