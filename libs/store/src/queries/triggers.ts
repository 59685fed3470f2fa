import type { CancelRule } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { type Connection, run, statement, transaction } from '../statement.ts'
import { cursorsOfTrigger } from './replays.ts'

export type StoredTriggerStatus = 'live' | 'paused' | 'retired'

export interface TriggerRow {
  id: string
  workflow: string
  app: string
  build: string
  queue: string
  pattern: string
  stream: string
  windowSize: number
  windowTimeoutMs: number | null
  windowMaxBytes: number
  windowKey: string | null
  filter: string | null
  /** Its workflow's rule, as far as a window says it; null: none. */
  concurrency: { key: string | null } | null
  /** What cancels the runs of its workflow. */
  cancelOn: readonly CancelRule[]
  gapPolicy: 'stop' | 'continue'
  onDeploy: 'upgrade' | 'pin'
  status: StoredTriggerStatus
  reason: string | null
  /** Too many runs of its workflow are queued: it waits. */
  backpressured: boolean
  /** Rises with every change of what the trigger does; its cursors carry it too. */
  version: number
  createdAt: number
  updatedAt: number
}

export interface StoredTrigger {
  id: string
  workflow: string
  app: string
  build: string
  queue: string
  pattern: string
  stream: string
  window_size: number
  window_timeout_ms: number | null
  window_max_bytes: number
  window_key: string | null
  filter: string | null
  flow: { concurrency?: { key: string | null }; cancel_on?: CancelRule[] } | null
  gap_policy: 'stop' | 'continue'
  on_deploy: 'upgrade' | 'pin'
  status: StoredTriggerStatus
  reason: string | null
  backpressured: boolean
  version: number
  created_at: number
  updated_at: number
}

export const triggerColumns = `t.id, t.workflow, t.app, t.build, t.queue, t.pattern, t.stream, t.window_size, t.window_timeout_ms,
     t.window_max_bytes, t.window_key, t.filter, t.flow, t.gap_policy, t.on_deploy, t.status, t.reason, t.version, t.created_at, t.updated_at,
     coalesce((select w.backpressured_since is not null from workflows w where w.id = t.workflow), false) as backpressured`

export function toTrigger(row: StoredTrigger): TriggerRow {
  return {
    id: row.id,
    workflow: row.workflow,
    app: row.app,
    build: row.build,
    queue: row.queue,
    pattern: row.pattern,
    stream: row.stream,
    windowSize: row.window_size,
    windowTimeoutMs: row.window_timeout_ms,
    windowMaxBytes: row.window_max_bytes,
    windowKey: row.window_key,
    filter: row.filter,
    concurrency: row.flow?.concurrency ?? null,
    cancelOn: row.flow?.cancel_on ?? [],
    gapPolicy: row.gap_policy,
    onDeploy: row.on_deploy,
    status: row.status,
    reason: row.reason,
    backpressured: row.backpressured,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}

const listStatement = statement(
  'list_triggers',
  `select ${triggerColumns} from triggers t where t.status <> 'retired' order by t.id`,
)

/** All triggers that are not retired. The trigger service asks twice a second. */
export async function listTriggers(connection: Store): Promise<TriggerRow[]> {
  return (await run<StoredTrigger>(connection.general, listStatement, [])).map(toTrigger)
}

const getStatement = statement('get_trigger', `select ${triggerColumns} from triggers t where t.id = $1`)

/** One trigger, also a retired one; null when there never was one of that id. */
export async function getTrigger(store: Store, id: string): Promise<TriggerRow | null> {
  const [row] = await run<StoredTrigger>(store.general, getStatement, [id])
  return row ? toTrigger(row) : null
}

export async function triggersOfApp(connection: Connection, app: string): Promise<TriggerRow[]> {
  const { rows } = await connection.query<StoredTrigger>(
    `select ${triggerColumns} from triggers t where t.app = $1 and t.status <> 'retired' order by t.id`,
    [app],
  )
  return rows.map(toTrigger)
}

/**
 * Pauses or resumes a trigger. False when there is none, or it is retired. Its cursors and its replays' follow, in key order, in the
 * same transaction; those stopped by a gap stay stopped. So a flush in flight moves a cursor either before the pause
 * or not at all: what was started by then is a run, what was not stays on Kafka until it is resumed.
 */
export async function setTriggerStatus(
  store: Store,
  id: string,
  status: 'live' | 'paused',
): Promise<boolean> {
  return await transaction(store.general, async (client) => {
    const { rowCount } = await client.query(
      `update triggers set status = $2, paused = $2 = 'paused', updated_at = case when status = $2 then updated_at else now() end
       where id = $1 and status <> 'retired'`,
      [id, status],
    )
    if (rowCount === 0) return false
    await client.query(
      `with own as materialized (
         select c.trigger_id, c.stream, c.partition from trigger_cursors c where ${cursorsOfTrigger}
         order by c.trigger_id, c.stream, c.partition for no key update)
       update trigger_cursors c set status = $2, reason = null, revision = c.revision + 1, updated_at = now()
       from own where c.trigger_id = own.trigger_id and c.stream = own.stream and c.partition = own.partition
         and c.status <> 'stopped' and c.status <> $2`,
      [id, status],
    )
    return true
  })
}
