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
  /** Of the API key with which it registers; null: keys are off. */
  keyId: string | null
}

/** Neither its queue nor its key changes under one id: who they are told for once may keep them. */
const upsertStatement = statement(
  'upsert_worker',
  `insert into workers (id, app, build, queue, host, sdk, concurrency, workflows, key_id)
   values ($1, $2, $3, $4, $5, $6, $7, $8::text[], $9)
   on conflict (id) do update
   set app = excluded.app, build = excluded.build, host = excluded.host, sdk = excluded.sdk,
       concurrency = excluded.concurrency, workflows = excluded.workflows, last_heartbeat_at = now()
   where workers.status <> 'dead' and workers.queue = excluded.queue and workers.key_id is not distinct from excluded.key_id
   returning id`,
)

/**
 * Writes a worker's row. False when that id was declared dead, or is another worker's, by its queue or its key: a worker
 * comes back under a new one.
 */
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
    worker.keyId,
  ])
  return rows.length > 0
}

/** As {@link upsertWorkerRow}, on its own. Registration does it inside {@link registerApp}'s transaction. */
export async function upsertWorker(store: Store, worker: NewWorker): Promise<boolean> {
  return await upsertWorkerRow(store.general, worker)
}

/** What never changes under one id of a worker. */
export interface RegisteredWorker {
  queue: string
  /** Of the API key with which it registered; null: keys were off. */
  keyId: string | null
}

const registeredStatement = statement(
  'registered_worker',
  'select queue, key_id as "keyId" from workers where id = $1',
)

/** Null for an id that never registered. */
export async function registeredWorker(store: Store, workerId: string): Promise<RegisteredWorker | null> {
  const [row] = await run<RegisteredWorker & Record<string, unknown>>(store.general, registeredStatement, [
    workerId,
  ])
  return row ?? null
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
