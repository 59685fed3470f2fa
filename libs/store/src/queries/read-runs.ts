import { answerKinds, type RunStatus } from '@headrace/schemas'
import { and, asc, desc, eq, getTableColumns, gt, gte, inArray, lt, lte, type SQL, sql } from 'drizzle-orm'
import type { Store } from '../connection.ts'
import { adminDatabase } from '../schema/database.ts'
import { runNotes, runs, steps } from '../schema/runs.ts'
import { runIdFloor } from '../run-id.ts'
import { misfits } from './commands-statement.ts'
import { addWaitingFor, openWaitsOf, type OpenStepWait } from './list-waits.ts'
import type { RunRecord, StepRecord } from './run-record.ts'

type RunRow = typeof runs.$inferSelect

export function toRunRecord(row: RunRow): Omit<RunRecord, 'waitingFor'> {
  const { triggerId, triggerVersion, stream, incarnation, partition, firstOffset, lastOffset, events } = row
  return {
    id: row.id,
    workflow: row.workflow,
    app: row.app,
    build: row.build,
    queue: row.queue,
    status: row.status,
    epoch: row.epoch,
    wake: row.wake,
    lost: row.lost,
    input: row.input,
    output: row.output,
    error: row.error,
    tags: row.tags,
    // All eight or none: a CHECK of the table.
    trigger:
      triggerId === null
        ? null
        : {
            id: triggerId,
            version: triggerVersion ?? 0,
            stream: stream ?? '',
            incarnation: incarnation ?? 0,
            partition: partition ?? 0,
            firstOffset: firstOffset ?? 0,
            lastOffset: lastOffset ?? 0,
            events: events ?? 0,
          },
    workerId: row.workerId,
    parentRunId: row.parentRunId,
    retryOf: row.retryOf,
    attempt: row.attempt,
    blockedReason: row.blockedReason,
    unfitBuilds: row.unfitBuilds ?? [],
    runAt: row.runAt,
    expiresAt: row.expiresAt,
    traceparent: row.traceparent,
    createdAt: row.createdAt,
    queuedAt: row.queuedAt,
    claimedAt: row.claimedAt,
    startedAt: row.startedAt,
    finishedAt: row.finishedAt,
  }
}

/** One run with its input and output; null when there is none (any more). */
export async function getRun(store: Store, runId: string): Promise<RunRecord | null> {
  const [row] = await adminDatabase(store).select().from(runs).where(eq(runs.id, runId))
  const [record] = row ? await addWaitingFor(store, [toRunRecord(row)]) : []
  return record ?? null
}

/** What some runs were given, and where it came from; of those that are there. `input` is JSON text, up to 1 MiB each. */
export async function readRunInputs(
  store: Store,
  runIds: string[],
): Promise<Pick<RunRecord, 'id' | 'workflow' | 'input' | 'trigger'>[]> {
  const rows = await adminDatabase(store).select().from(runs).where(inArray(runs.id, runIds))
  return rows.map(toRunRecord)
}

/** The statuses and ends of some runs, for everyone who waits for one: a single statement for all of them. */
export async function readRunEnds(
  store: Store,
  runIds: string[],
): Promise<Map<string, { status: RunStatus; finishedAt: number | null }>> {
  if (runIds.length === 0) return new Map()
  const rows = await adminDatabase(store)
    .select({ id: runs.id, status: runs.status, finishedAt: runs.finishedAt })
    .from(runs)
    .where(inArray(runs.id, runIds))
  return new Map(rows.map((row) => [row.id, { status: row.status, finishedAt: row.finishedAt }]))
}

/** All conditions hold together. */
export interface RunFilter {
  workflow?: string
  status?: RunStatus[]
  trigger?: string
  /** Runs whose window holds this event. */
  event?: { stream: string; partition: number; sequenceId: number }
  tag?: { key: string; value: string }
  /** Ms since 1970. */
  createdAfter?: number
  createdBefore?: number
  /** Runs that no other retries. */
  notRetried?: true
  /** Runs that a person may pause: of those that are paused, the ones that go on by themselves (steer-runs). */
  pausable?: true
}

/** Ids of runs, the newest first. `below`: the last one of the page before. */
export async function listRunIds(
  store: Store,
  filter: RunFilter,
  { limit, below }: { limit: number; below: string | null },
): Promise<string[]> {
  const rows = await adminDatabase(store)
    .select({ id: runs.id })
    .from(runs)
    .where(and(...conditionsOf(filter), below === null ? undefined : lt(runs.id, below)))
    .orderBy(desc(runs.id))
    .limit(limit)
  return rows.map(({ id }) => id)
}

/** How many runs there are, counted up to `max`. */
export async function countRuns(store: Store, filter: RunFilter, max: number): Promise<number> {
  const database = adminDatabase(store)
  const some = database
    .select({ id: runs.id })
    .from(runs)
    .where(and(...conditionsOf(filter)))
    .limit(max)
    .as('some')
  const [row] = await database.select({ runs: sql<number>`count(*)::int` }).from(some)
  return row?.runs ?? 0
}

export function conditionsOf(filter: RunFilter): SQL[] {
  const { workflow, status, trigger, event, tag, createdAfter, createdBefore, notRetried, pausable } = filter
  const conditions: SQL[] = []
  if (workflow !== undefined) conditions.push(eq(runs.workflow, workflow))
  if (status !== undefined) conditions.push(inArray(runs.status, status))
  if (trigger !== undefined) conditions.push(eq(runs.triggerId, trigger))
  if (event !== undefined)
    conditions.push(
      eq(runs.stream, event.stream),
      eq(runs.partition, event.partition),
      lte(runs.firstOffset, event.sequenceId),
      gte(runs.lastOffset, event.sequenceId),
    )
  if (tag !== undefined)
    conditions.push(sql`${runs.tags} @> ${JSON.stringify({ [tag.key]: tag.value })}::jsonb`)
  // Ids carry their time, so this prunes partitions; the column decides within the millisecond.
  if (createdAfter !== undefined)
    conditions.push(gte(runs.id, runIdFloor(createdAfter - createdSlackMs)), gt(runs.createdAt, createdAfter))
  if (createdBefore !== undefined)
    conditions.push(
      lt(runs.id, runIdFloor(createdBefore + createdSlackMs)),
      lt(runs.createdAt, createdBefore),
    )
  if (pausable)
    conditions.push(sql`(${runs.status} <> 'paused' or ${runs.blockedReason} in (${sql.raw(misfits)}))`)
  if (notRetried)
    conditions.push(
      sql`not exists (select 1 from ${runNotes} n where n.run_id = ${runs.id} and n.kind = 'retried')`,
    )
  return conditions
}

/** An id is made by an estimate of Postgres's clock, a moment before the row's own time. */
const createdSlackMs = 60_000

/**
 * A run's stored steps in the order they happened, then its open waits. The waits are read first: one that is answered
 * meanwhile is among the steps then, and not missing from both.
 */
export async function listSteps(store: Store, runId: string): Promise<StepRecord[]> {
  const open = await openWaitsOf(store, [runId])
  const { runId: _, ...columns } = getTableColumns(steps)
  const stored = await adminDatabase(store)
    .select(columns)
    .from(steps)
    .where(eq(steps.runId, runId))
    .orderBy(asc(steps.seen), desc(inArray(steps.kind, [...answerKinds])), asc(steps.n), asc(steps.key))
  const keys = new Set(stored.map(({ key }) => key))
  return [
    ...stored.map((step): StepRecord => ({ ...step, status: step.error === null ? 'completed' : 'failed' })),
    ...open.filter(({ key }) => !keys.has(key)).map(waitingStep),
  ]
}

const waitingStep = ({ key, kind, epoch, seen, createdAt }: OpenStepWait): StepRecord => ({
  key,
  kind: kind === 'run' ? 'child' : kind,
  status: 'waiting',
  n: 0,
  seen,
  epoch,
  output: null,
  error: null,
  attempts: 1,
  startedAt: createdAt,
  finishedAt: null,
})

export interface RunNote {
  epoch: number
  kind: (typeof runNotes.$inferSelect)['kind']
  /** Who had it in hand, and since when. */
  workerId: string | null
  claimedAt: number | null
  detail: string | null
  at: number
}

/** A run that is paused and resumed by a program has no end of notes: the latest are what one looks for. */
const notesMax = 5_000

/** What happened to a run beside its steps: released, lost, stolen…; the latest 5,000. */
export async function listRunNotes(store: Store, runId: string): Promise<RunNote[]> {
  const { runId: _, ...columns } = getTableColumns(runNotes)
  const notes = await adminDatabase(store)
    .select(columns)
    .from(runNotes)
    .where(eq(runNotes.runId, runId))
    .orderBy(desc(runNotes.epoch), desc(runNotes.at))
    .limit(notesMax)
  return notes.toReversed()
}
