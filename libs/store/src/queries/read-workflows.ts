import type { RunStatus } from '@headrace/schemas'
import { asc, eq } from 'drizzle-orm'
import type { Store } from '../connection.ts'
import { adminDatabase } from '../schema/database.ts'
import { workflows } from '../schema/triggers.ts'
import { workerDeadAfterMs } from './recover-runs.ts'

type LiveStatus = Exclude<RunStatus, 'completed' | 'failed' | 'cancelled' | 'timed_out'>

export interface WorkflowRecord {
  id: string
  app: string
  build: string
  queue: string
  onDeploy: 'upgrade' | 'pin'
  status: 'live' | 'paused' | 'retired'
  concurrency: { limit: number; key: string | null } | null
  /** Ids of its triggers that are not retired. */
  triggers: string[]
  /** Living workers that have its code. */
  workers: number
  /** Its runs that have not ended. */
  runs: Partial<Record<LiveStatus, number>>
}

export interface QueueRecord {
  id: string
  queued: number
  running: number
  waiting: number
  /** Runs its living workers can hold at once. */
  capacity: number
  oldestQueuedAt: number | null
}

export interface WorkerRecord {
  id: string
  app: string
  build: string
  queue: string
  host: string
  sdk: string
  status: 'live' | 'draining' | 'dead'
  partitions: number[]
  workflows: string[]
  running: number
  concurrency: number
  stalledMs: number
  startedAt: number
  lastHeartbeatAt: number
}

// Each part is answered from one partial index on status; `status in (…)` could use none of them.
const liveCounts = `
  select workflow, queue, status, count(*)::int as runs, min(queued_at) as oldest_queued_at, false as held
    from runs where status = 'queued' and blocked_reason is null group by 1, 2, 3
  union all
  select workflow, queue, status, count(*)::int, null, false from runs where status = 'running' group by 1, 2, 3
  union all
  select workflow, queue, status, count(*)::int, null, false from runs where status in ('waiting', 'paused') group by 1, 2, 3
  union all
  select workflow, queue, status, count(*)::int, null, false from runs where status = 'queued' and blocked_reason = 'delayed' group by 1, 2, 3
  union all
  select workflow, queue, status, count(*)::int, null, true
    from runs where status = 'queued' and blocked_reason = 'concurrency' group by 1, 2, 3`

export interface LiveCount {
  workflow: string
  queue: string
  status: LiveStatus
  runs: number
  oldestQueuedAt: number | null
  /** By the concurrency of their workflow. */
  held: boolean
}

/** How many runs live, by workflow, queue and status: also what metrics are made of. */
export async function countLiveRuns(store: Store): Promise<LiveCount[]> {
  const { rows } = await store.general.query<{
    workflow: string
    queue: string
    status: LiveStatus
    runs: number
    oldest_queued_at: number | null
    held: boolean
  }>(liveCounts)
  return rows.map(({ oldest_queued_at: oldestQueuedAt, ...count }) => ({ ...count, oldestQueuedAt }))
}

const liveWorker = `w.status = 'live' and w.last_heartbeat_at > now() - make_interval(secs => $1::float8 / 1000)`

/** Workflows that are not retired, by id, with what lives of them. */
export async function listWorkflows(store: Store): Promise<WorkflowRecord[]> {
  const [rows, counts, facts] = await Promise.all([
    adminDatabase(store).select().from(workflows).orderBy(asc(workflows.id)),
    countLiveRuns(store),
    workflowFacts(store),
  ])
  return rows.filter((row) => row.status !== 'retired').map((row) => toWorkflowRecord(row, counts, facts))
}

/** One workflow, also a retired one; null when there never was one of that id. */
export async function getWorkflow(store: Store, id: string): Promise<WorkflowRecord | null> {
  const [row] = await adminDatabase(store).select().from(workflows).where(eq(workflows.id, id))
  if (!row) return null
  const [counts, facts] = await Promise.all([countLiveRuns(store), workflowFacts(store)])
  return toWorkflowRecord(row, counts, facts)
}

type WorkflowFacts = Map<string, { triggers: string[]; workers: number }>

async function workflowFacts(store: Store): Promise<WorkflowFacts> {
  const { rows } = await store.general.query<{ id: string; triggers: string[]; workers: number }>(
    `select wf.id,
       array(select t.id from triggers t where t.workflow = wf.id and t.status <> 'retired' order by t.id) as triggers,
       (select count(*)::int from workers w where ${liveWorker} and wf.id = any (w.workflows)) as workers
     from workflows wf`,
    [workerDeadAfterMs],
  )
  return new Map(rows.map(({ id, ...facts }) => [id, facts]))
}

function toWorkflowRecord(
  row: typeof workflows.$inferSelect,
  counts: LiveCount[],
  facts: WorkflowFacts,
): WorkflowRecord {
  const record: WorkflowRecord = {
    id: row.id,
    app: row.app,
    build: row.build,
    queue: row.queue,
    onDeploy: row.onDeploy,
    status: row.status === 'live' && row.pausedAt !== null ? 'paused' : row.status,
    concurrency:
      row.concurrencyLimit === null ? null : { limit: row.concurrencyLimit, key: row.concurrencyKey },
    triggers: facts.get(row.id)?.triggers ?? [],
    workers: facts.get(row.id)?.workers ?? 0,
    runs: {},
  }
  for (const count of counts)
    if (count.workflow === row.id) record.runs[count.status] = (record.runs[count.status] ?? 0) + count.runs
  return record
}

/** Queues that a workflow names, a worker serves, or a run is on; by name. */
export async function listQueues(store: Store): Promise<QueueRecord[]> {
  const [counts, { rows }] = await Promise.all([
    countLiveRuns(store),
    store.general.query<{ id: string; capacity: number }>(
      `select q.id, coalesce((select sum(w.concurrency)::int from workers w where ${liveWorker} and w.queue = q.id), 0) as capacity
       from (select queue as id from workflows where status <> 'retired' union select queue from workers where status <> 'dead') q`,
      [workerDeadAfterMs],
    ),
  ])
  const capacities = new Map(rows.map((row) => [row.id, row.capacity]))
  const ids = new Set([...capacities.keys(), ...counts.map((count) => count.queue)])
  return [...ids].sort().map((id) => {
    const own = counts.filter((count) => count.queue === id)
    const sum = (status: LiveStatus): number =>
      own.filter((count) => count.status === status).reduce((total, count) => total + count.runs, 0)
    const oldest = own.flatMap(({ oldestQueuedAt }) => (oldestQueuedAt === null ? [] : [oldestQueuedAt]))
    return {
      id,
      queued: sum('queued'),
      running: sum('running'),
      waiting: sum('waiting'),
      capacity: capacities.get(id) ?? 0,
      oldestQueuedAt: oldest.length === 0 ? null : Math.min(...oldest),
    }
  })
}

/** Workers, those that died in the last day too; newest first. */
export async function listWorkers(store: Store): Promise<WorkerRecord[]> {
  const { rows } = await store.general.query<{
    id: string
    app: string
    build: string
    queue: string
    host: string
    sdk: string
    status: 'live' | 'draining' | 'dead'
    partitions: number[]
    workflows: string[]
    running: number
    concurrency: number
    stalled_ms: number
    started_at: number
    last_heartbeat_at: number
  }>(
    `select w.id, w.app, w.build, w.queue, w.host, w.sdk, w.status, w.partitions, w.workflows, w.concurrency, w.stalled_ms,
       w.started_at, w.last_heartbeat_at,
       (select count(*)::int from runs r where r.status = 'running' and r.worker_id = w.id) as running
     from workers w order by w.started_at desc, w.id`,
  )
  return rows.map(({ stalled_ms, started_at, last_heartbeat_at, ...worker }) => ({
    ...worker,
    stalledMs: stalled_ms,
    startedAt: started_at,
    lastHeartbeatAt: last_heartbeat_at,
  }))
}

/** Workflows that no living worker has: their queued runs are blocked by `no_worker`. */
export async function workflowsWithoutWorker(store: Store, ids: string[]): Promise<Set<string>> {
  if (ids.length === 0) return new Set()
  const { rows } = await store.general.query<{ id: string }>(
    `select u.id from unnest($2::text[]) u(id)
     where not exists (select 1 from workers w where ${liveWorker} and u.id = any (w.workflows))`,
    [workerDeadAfterMs, [...new Set(ids)]],
  )
  return new Set(rows.map((row) => row.id))
}
