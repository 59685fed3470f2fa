import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

export type Component = 'gateway' | 'trigger_service' | 'orchestrator'

/** Two beats of 2 s and some: a longer silence breaks the right to judge. */
const unbrokenGapMs = 5_000
/** Without a beat for so long an instance is not shown; several beats of the slowest (5 s) component. */
const instanceShownMs = 15_000
const instanceKeptMs = 24 * 3_600_000

const beatStatement = statement(
  'beat_instance',
  `insert into instances (id, component, version) values ($1, $2, $3)
   on conflict (id) do update
   set component = excluded.component, version = excluded.version, last_beat_at = now(),
       unbroken_since = case when instances.last_beat_at < now() - make_interval(secs => $4::float8 / 1000)
         then now() else instances.unbroken_since end`,
)

/** One heartbeat of a service's instance, every 2 s (the gateway's, which come by HTTP, every 5 s). */
export async function beatInstance(
  store: Store,
  beat: { id: string; component: Component; version: string },
): Promise<void> {
  await run(store.general, beatStatement, [beat.id, beat.component, beat.version, unbrokenGapMs])
}

export interface Instance {
  id: string
  component: Component
  version: string
  startedAt: number
  lastBeatAt: number
}

/** The instances that live: those with a beat in the last 15 s. */
export async function listInstances(store: Store): Promise<Instance[]> {
  const { rows } = await store.general.query<{
    id: string
    component: Component
    version: string
    started_at: number
    last_beat_at: number
  }>(
    `select id, component, version, started_at, last_beat_at from instances
     where last_beat_at > now() - make_interval(secs => $1::float8 / 1000) order by component, id`,
    [instanceShownMs],
  )
  return rows.map((row) => ({
    id: row.id,
    component: row.component,
    version: row.version,
    startedAt: row.started_at,
    lastBeatAt: row.last_beat_at,
  }))
}

/** Forgets instances that stopped a day ago. Returns how many. */
export async function dropOldInstances(store: Store): Promise<number> {
  const { rowCount } = await store.general.query(
    `delete from instances where last_beat_at < now() - make_interval(secs => $1::float8 / 1000)`,
    [instanceKeptMs],
  )
  return rowCount ?? 0
}
