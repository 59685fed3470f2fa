import { endedRunStatuses, type RunStatus } from '@headrace/schemas'
import { and, asc, desc, eq, inArray, ne, notInArray, type SQL, sql } from 'drizzle-orm'
import type { Store } from '../connection.ts'
import { runs } from '../schema/runs.ts'
import { adminDatabase } from '../schema/database.ts'
import { waits } from '../schema/waits.ts'
import type { RunRecord, WaitingFor } from './run-record.ts'
import { scannedPage } from './scanned-page.ts'
import type { WaitRef } from './wait-ref.ts'

type WaitRow = typeof waits.$inferSelect
/** Waits that are steps of a run. */
export type StepWaitKind = Exclude<WaitRow['kind'], 'cancel'>

/** A wait as the API reads it. Times are ms since 1970. */
export interface WaitRecord extends WaitRef {
  kind: WaitRow['kind']
  status: WaitRow['status']
  topic: string | null
  filter: string | null
  /** From when on an event was asked for. */
  since: number
  /** Null: it ends with its run. */
  expiresAt: number | null
  lookbackTruncated: boolean
  unverified: boolean
  answer: { stream: string; partition: number; sequenceId: number } | null
  childRunId: string | null
  createdAt: number
  answeredAt: number | null
}

/** All conditions hold together. */
export interface WaitFilter {
  status?: WaitRow['status'][]
  topic?: string
  runId?: string
  key?: string
}

const liveWaits = ['pending', 'open'] as const satisfies WaitRow['status'][]

/**
 * Those of the newest run first. `cursor`: the last one of the page before. A page of a filter that few waits pass may be
 * short, even empty, and have a next one: it looks for 2 s at the most.
 */
export async function listWaits(
  store: Store,
  filter: WaitFilter,
  { limit, cursor }: { limit: number; cursor: WaitRef | null },
): Promise<{ waits: WaitRecord[]; nextCursor: WaitRef | null }> {
  const { walk, all } = waitConditions(filter)
  const page = await scannedPage<WaitRow, WaitRef>({
    limit,
    cursor,
    ahead: async (after, rows) => {
      const [row] = walk === null ? [] : await waitsAheadQuery(store, { walk, after, rows })
      return row ?? null
    },
    read: async (after, upTo, most) => await waitsPageQuery(store, { all, after, upTo, limit: most }),
    placeOf: ({ runId, key }) => ({ runId, key }),
  })
  return { waits: page.rows.map(toWaitRecord), nextCursor: page.next }
}

/** `walk`: those that an index answers in the list's order; null: nothing is to be looked through. */
export function waitConditions({ status, topic, runId, key }: WaitFilter): {
  walk: SQL[] | null
  all: SQL[]
} {
  const all: SQL[] = []
  if (status !== undefined) all.push(inArray(waits.status, status))
  if (topic !== undefined) all.push(eq(waits.topic, topic))
  if (runId !== undefined) all.push(eq(waits.runId, runId))
  if (key !== undefined) all.push(eq(waits.key, key))
  const isOpen = status !== undefined && status.every((one) => one === 'open')
  // Each has an index: a run's waits, those that are open on a topic, and those that are live.
  if (runId !== undefined || (isOpen && topic !== undefined)) return { walk: null, all }
  const isLive = status !== undefined && status.every((one) => liveWaits.some((live) => live === one))
  return { walk: isLive ? [inArray(waits.status, status)] : [], all }
}

const place = sql`(${waits.runId}, ${waits.key})`
const placeAt = ({ runId, key }: WaitRef): SQL => sql`(${runId}::uuid, ${key}::text)`

export function waitsAheadQuery(store: Store, at: { walk: SQL[]; after: WaitRef | null; rows: number }) {
  const { walk, after, rows } = at
  return adminDatabase(store)
    .select({ runId: waits.runId, key: waits.key })
    .from(waits)
    .where(and(...walk, after === null ? undefined : sql`${place} < ${placeAt(after)}`))
    .orderBy(desc(waits.runId), desc(waits.key))
    .offset(rows - 1)
    .limit(1)
}

export function waitsPageQuery(
  store: Store,
  page: { all: SQL[]; after: WaitRef | null; upTo: WaitRef | null; limit: number },
) {
  const { all, after, upTo, limit } = page
  return adminDatabase(store)
    .select()
    .from(waits)
    .where(
      and(
        ...all,
        after === null ? undefined : sql`${place} < ${placeAt(after)}`,
        upTo === null ? undefined : sql`${place} >= ${placeAt(upTo)}`,
      ),
    )
    .orderBy(desc(waits.runId), desc(waits.key))
    .limit(limit)
}

function toWaitRecord(row: WaitRow): WaitRecord {
  const { stream, answeredPartition: partition, answeredOffset: sequenceId } = row
  return {
    runId: row.runId,
    key: row.key,
    kind: row.kind,
    status: row.status,
    topic: row.topic,
    filter: row.filter,
    since: row.askedSince,
    expiresAt: row.expiresAt,
    lookbackTruncated: row.lookbackTruncated,
    unverified: row.unverified,
    answer:
      stream === null || partition === null || sequenceId === null ? null : { stream, partition, sequenceId },
    childRunId: row.childRunId,
    createdAt: row.createdAt,
    answeredAt: row.answeredAt,
  }
}

const ofLiveRun = notInArray(runs.status, [...endedRunStatuses])
const isLive = (status: RunStatus): boolean => !endedRunStatuses.some((ended) => ended === status)

/** What each of these runs waits for, the longest first. */
export async function addWaitingFor(
  store: Store,
  records: Omit<RunRecord, 'waitingFor'>[],
): Promise<RunRecord[]> {
  const ids = records.filter(({ status }) => isLive(status)).map(({ id }) => id)
  const byRun = new Map<string, WaitingFor[]>()
  if (ids.length > 0)
    for (const { runId, ...wait } of await openWaitsOf(store, ids)) {
      const others = byRun.get(runId)
      if (others) others.push(wait)
      else byRun.set(runId, [wait])
    }
  return records.map((record) => ({ ...record, waitingFor: byRun.get(record.id) ?? [] }))
}

export interface OpenStepWait extends WaitingFor {
  runId: string
  epoch: number
  seen: number
  createdAt: number
}

/** The pending and open waits of some runs, in the order they were registered. A run that has ended waits for nothing. */
export async function openWaitsOf(store: Store, runIds: string[]): Promise<OpenStepWait[]> {
  const { runId, key, kind, topic, expiresAt, epoch, seen, createdAt } = waits
  const rows = await adminDatabase(store)
    .select({ runId, key, kind, topic, expiresAt, epoch, seen, createdAt })
    .from(waits)
    .innerJoin(runs, eq(runs.id, runId))
    .where(and(inArray(runId, runIds), inArray(waits.status, [...liveWaits]), ne(kind, 'cancel'), ofLiveRun))
    .orderBy(asc(runId), asc(createdAt), asc(key))
  return rows.flatMap(({ kind: of, expiresAt: at, ...row }) =>
    of === 'cancel' || at === null ? [] : [{ ...row, kind: of, expiresAt: at }],
  )
}

export interface OpenWaitCount {
  kind: WaitRow['kind']
  status: 'pending' | 'open'
  waits: number
}

/** How many waits are open, of runs that have not ended: what metrics are made of. */
export async function countOpenWaits(store: Store): Promise<OpenWaitCount[]> {
  const { kind, status } = waits
  const rows = await adminDatabase(store)
    .select({ kind, status, waits: sql<number>`count(*)::int` })
    .from(waits)
    .innerJoin(runs, eq(runs.id, waits.runId))
    .where(and(inArray(status, [...liveWaits]), ofLiveRun))
    .groupBy(kind, status)
  return rows.flatMap((row) =>
    row.status !== 'pending' && row.status !== 'open'
      ? []
      : [{ kind: row.kind, status: row.status, waits: row.waits }],
  )
}
