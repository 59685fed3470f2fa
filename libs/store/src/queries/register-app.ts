import { streamOf, type WorkflowDefinition } from '@headrace/schemas'
import type { PoolClient } from 'pg'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { transaction } from '../statement.ts'
import { projectStreams } from './cancel-waits.ts'
import { insertCursors } from './cursors.ts'
import { workerDeadAfterMs } from './recover-runs.ts'
import {
  desiredTriggers,
  doublesIn,
  type ExistingTrigger,
  type PlannedTrigger,
  planTrigger,
  type RegistrationConflict,
} from './registration-plan.ts'
import {
  existingTriggers,
  raiseCursors,
  retireTriggers,
  retireWorkflows,
  writeTriggers,
  writeWorkflows,
} from './registration-writes.ts'
import { endReplays } from './replays.ts'
import { triggersOfApp, type TriggerRow } from './triggers.ts'
import { type NewWorker, upsertWorkerRow } from './workers.ts'

export type { RegistrationConflict } from './registration-plan.ts'

/** End offsets by stream and partition: one for every partition that exists. */
export type StreamEnds = Map<string, Map<number, number>>

export interface Registration {
  app: string
  build: string
  /** The whole set of this build: what is absent is retired. */
  workflows: WorkflowDefinition[]
  /**
   * Asks Kafka where triggers that begin now begin. Called inside the transaction, after its locks, and only when
   * there are such triggers; when it throws, nothing was registered.
   */
  newCursors: (triggers: { id: string; stream: string }[]) => Promise<StreamEnds>
  /** The worker that registers, written in the same transaction: so "a newer build lives" is never missed. */
  worker?: NewWorker
}

export type RegistrationOutcome =
  | {
      status: 'registered'
      /** The app's triggers as they are now, by whichever build. */
      triggers: TriggerRow[]
      /** This build's set counts. False: a newer build of the app has live workers, and nothing was changed. */
      started: boolean
    }
  | { status: 'conflict'; conflicts: RegistrationConflict[] }
  /** The worker's id was declared dead: it registers again under a new one. */
  | { status: 'unknown_worker' }

/** Thrown inside the transaction, so that it rolls back; a value outside. */
class Refused extends Error {
  readonly outcome: RegistrationOutcome
  constructor(outcome: RegistrationOutcome) {
    super(outcome.status)
    this.outcome = outcome
  }
}

/**
 * Registers an app's set of workflows and triggers in one transaction, with a cursor row for every partition that
 * exists at the end offsets taken inside the call; or nothing at all. Locks: the app's row (so registrations of one
 * app take turns), then workflows, triggers and cursors, each in key order.
 */
export async function registerApp(store: Store, registration: Registration): Promise<RegistrationOutcome> {
  const doubles = doublesIn(registration.app, registration.workflows)
  if (doubles.length > 0) return { status: 'conflict', conflicts: doubles }
  try {
    return await withRetries(
      async () => await transaction(store.general, async (client) => await register(client, registration)),
    )
  } catch (error) {
    if (error instanceof Refused) return error.outcome
    throw error
  }
}

async function register(client: PoolClient, registration: Registration): Promise<RegistrationOutcome> {
  const { app, build } = registration
  await client.query('insert into apps (id) values ($1) on conflict do nothing', [app])
  const { rows: apps } = await client.query<{ current_build: string | null }>(
    'select current_build from apps where id = $1 for update',
    [app],
  )
  if (registration.worker && !(await upsertWorkerRow(client, registration.worker)))
    throw new Refused({ status: 'unknown_worker' })
  const { unchanged, newerLives } = await enterBuild(client, registration)
  const inForce = apps[0]?.current_build === build && unchanged
  if (!newerLives && !inForce) await apply(client, registration)
  return { status: 'registered', triggers: await triggersOfApp(client, app), started: !newerLives }
}

/** Enters the build. `unchanged`: it was registered with this very set. `newerLives`: a later one has live workers. */
async function enterBuild(
  client: PoolClient,
  { app, build, workflows }: Registration,
): Promise<{ unchanged: boolean; newerLives: boolean }> {
  const definition = JSON.stringify(workflows)
  const { rows: before } = await client.query<{ unchanged: boolean }>(
    'select definition = $3::jsonb as unchanged from builds where app = $1 and id = $2',
    [app, build, definition],
  )
  await client.query(
    `insert into builds (app, id, definition) values ($1, $2, $3::jsonb)
     on conflict (app, id) do update set definition = excluded.definition, last_registered_at = clock_timestamp()`,
    [app, build, definition],
  )
  const { rows } = await client.query<{ newer_lives: boolean }>(
    `select exists (
       select 1 from builds mine
       join builds newer on newer.app = mine.app and newer.first_registered_at > mine.first_registered_at
       join workers w on w.app = newer.app and w.build = newer.id
       where mine.app = $1 and mine.id = $2
         and w.status = 'live' and w.last_heartbeat_at > now() - make_interval(secs => $3::float8 / 1000)) as newer_lives`,
    [app, build, workerDeadAfterMs],
  )
  return { unchanged: before[0]?.unchanged ?? false, newerLives: rows[0]?.newer_lives ?? false }
}

async function apply(client: PoolClient, registration: Registration): Promise<void> {
  const { app, build, workflows } = registration
  const refuse = (conflicts: RegistrationConflict[]): void => {
    if (conflicts.length > 0) throw new Refused({ status: 'conflict', conflicts })
  }
  refuse(await writeWorkflows(client, { app, build, workflows }))
  await retireWorkflows(
    client,
    app,
    workflows.map((workflow) => workflow.id),
  )

  const wanted = desiredTriggers(workflows)
  const existing = new Map(
    (
      await existingTriggers(
        client,
        app,
        wanted.map((trigger) => trigger.id),
      )
    ).map((row) => [row.id, row]),
  )
  const planned = wanted.map((trigger) => planTrigger(trigger, existing.get(trigger.id) ?? null))
  refuse(await writeTriggers(client, { app, build, triggers: planned }))
  await retireTriggers(
    client,
    app,
    planned.map((trigger) => trigger.id),
  )
  await moveCursors(client, { planned, existing, newCursors: registration.newCursors })
  const cancels = workflows.flatMap(({ cancel_on: rules = [] }) => rules)
  await projectStreams(
    client,
    cancels.map(({ event }) => streamOf(event)),
  )
  await client.query('update apps set current_build = $2, registered_at = now() where id = $1', [app, build])
}

async function moveCursors(
  client: PoolClient,
  plan: {
    planned: PlannedTrigger[]
    existing: Map<string, ExistingTrigger>
    newCursors: Registration['newCursors']
  },
): Promise<void> {
  await raiseCursors(
    client,
    plan.planned.filter((trigger) => trigger.raisesCursors).map((trigger) => trigger.id),
  )
  const beginning = plan.planned.filter((trigger) => trigger.needsCursors)
  if (beginning.length === 0) return
  const ends = await plan.newCursors(beginning.map(({ id, stream }) => ({ id, stream })))
  const ids = beginning.map((trigger) => trigger.id)
  await endReplays(client, ids, { reason: 'trigger_moved' })
  await client.query('delete from trigger_cursors where trigger_id = any ($1::text[])', [ids])
  await insertCursors(
    client,
    beginning.flatMap((trigger) => {
      const partitions = ends.get(trigger.stream)
      if (!partitions || partitions.size === 0)
        throw new Error(
          `No end offsets were found for stream ${trigger.stream}: trigger ${trigger.id} cannot begin`,
        )
      return [...partitions].map(([partition, nextOffset]) => ({
        triggerId: trigger.id,
        stream: trigger.stream,
        partition,
        nextOffset,
        version: trigger.version,
      }))
    }),
  )
}
