import { and, asc, eq, inArray, ne } from 'drizzle-orm'
import type { Store } from '../connection.ts'
import { adminDatabase } from '../schema/database.ts'
import { waits } from '../schema/waits.ts'
import { workers } from '../schema/workers.ts'
import type { StepWaitKind } from './list-waits.ts'
import { getRun, listRunNotes, listSteps, type RunNote } from './read-runs.ts'
import type { RunRecord, StepRecord } from './run-record.ts'

/** A wait, whatever became of it. Times are ms since 1970. */
interface HistoricWait {
  key: string
  kind: StepWaitKind
  status: (typeof waits.$inferSelect)['status']
  topic: string | null
  epoch: number
  createdAt: number
  answeredAt: number | null
}

/** All that is kept of how a run went. */
export interface RunTimeline {
  run: RunRecord
  /** In the order they happened. */
  steps: StepRecord[]
  waits: HistoricWait[]
  /** By epoch. */
  notes: RunNote[]
  /** The builds of the workers that had it in hand, as long as those are remembered. */
  builds: Map<string, string>
}

/** Null when there is no such run (any more). Read one after the other: what a run is doing may show by half. */
export async function readTimeline(store: Store, runId: string): Promise<RunTimeline | null> {
  const run = await getRun(store, runId)
  if (run === null) return null
  const database = adminDatabase(store)
  const steps = await listSteps(store, runId)
  const notes = await listRunNotes(store, runId)
  const { key, kind, status, topic, epoch, createdAt, answeredAt } = waits
  const rows = await database
    .select({ key, kind, status, topic, epoch, createdAt, answeredAt })
    .from(waits)
    .where(and(eq(waits.runId, runId), ne(kind, 'cancel')))
    .orderBy(asc(createdAt), asc(key))
  const hands = [run.workerId, ...notes.map(({ workerId }) => workerId)].filter((id) => id !== null)
  const known =
    hands.length === 0
      ? []
      : await database
          .select({ id: workers.id, build: workers.build })
          .from(workers)
          .where(inArray(workers.id, [...new Set(hands)]))
  return {
    run,
    steps,
    waits: rows.flatMap((row) => (row.kind === 'cancel' ? [] : [{ ...row, kind: row.kind }])),
    notes,
    builds: new Map(known.map(({ id, build }) => [id, build])),
  }
}
