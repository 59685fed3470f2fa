import { type RunStatus, streamOf } from '@headrace/schemas'
import { and, desc, eq, getTableColumns, gte, inArray, lt, type SQL, sql } from 'drizzle-orm'
import type { Store } from '../connection.ts'
import { adminDatabase } from '../schema/database.ts'
import { runs } from '../schema/runs.ts'
import { run, statement } from '../statement.ts'
import { Stretch } from '../stretch.ts'
import { addWaitingFor } from './list-waits.ts'
import { conditionsOf, type RunFilter, toRunRecord } from './read-runs.ts'
import type { RunRecord } from './run-record.ts'
import { scannedPage } from './scanned-page.ts'

/** All conditions hold together. */
export interface RunListFilter extends RunFilter {
  /** Runs that were handed such an event; where both are given, one event that has both. */
  handed?: { topic?: string; eventId?: string }
}

type RunRow = typeof runs.$inferSelect

/**
 * Newest first, without input and output. `cursor` is the last id of the page before. A page of a filter that few runs
 * pass may be short, even empty, and have a next one: it looks for 2 s at the most.
 */
export async function listRuns(
  store: Store,
  filter: RunListFilter,
  { limit, cursor }: { limit: number; cursor: string | null },
): Promise<{ runs: RunRecord[]; nextCursor: string | null }> {
  const conditions = await listConditions(store, filter)
  const { walk } = conditions
  const page = await scannedPage<RunRow, string>({
    limit,
    cursor,
    ahead: async (after, rows) => {
      const [row] = walk === null ? [] : await aheadQuery(store, { walk, after, rows })
      return row?.id ?? null
    },
    read: async (after, upTo, most) => {
      const range = { ...conditions, after, upTo, limit: most }
      const { handed } = filter
      return handed === undefined
        ? await pageQuery(store, range)
        : await rowsHanded(
            handed,
            most,
            async (from, some) => await pageQuery(store, { ...range, after: from ?? after, limit: some }),
          )
    },
    placeOf: ({ id }) => id,
  })
  return { runs: await addWaitingFor(store, page.rows.map(toRunRecord)), nextCursor: page.next }
}

/**
 * Statuses with an index of their own. That of running, waiting and paused runs is not in the list's order: what is found
 * by it is sorted, and is as many as there are at a time.
 */
const indexedStatuses: readonly (readonly RunStatus[])[] = [
  ['failed', 'cancelled', 'timed_out'],
  ['running'],
  ['waiting', 'paused'],
]

export interface ListConditions {
  /** Those that an index answers in the list's order; null: all of them, so that nothing is to be looked through. */
  walk: SQL[] | null
  all: SQL[]
  /** The input is read, to be looked into. */
  withInput: boolean
}

export async function listConditions(store: Store, filter: RunListFilter): Promise<ListConditions> {
  const { event, handed, ...own } = filter
  const { workflow, status, createdAfter, createdBefore } = own
  const byStatus =
    status !== undefined && indexedStatuses.some((some) => status.every((one) => some.includes(one)))
  const all = conditionsOf(own)
  if (handed !== undefined) all.push(...handedConditions(handed))
  if (event !== undefined) all.push(inArray(runs.id, await idsSpanning(store, event)))
  const walked: RunFilter = {
    ...(byStatus ? { status } : workflow === undefined ? {} : { workflow }),
    ...(createdAfter === undefined ? {} : { createdAfter }),
    ...(createdBefore === undefined ? {} : { createdBefore }),
  }
  const isAnswered = event !== undefined || Object.keys(walked).length === Object.keys(own).length
  return {
    walk: isAnswered && handed === undefined ? null : conditionsOf(walked),
    all,
    withInput: handed !== undefined,
  }
}

export function aheadQuery(store: Store, at: { walk: SQL[]; after: string | null; rows: number }) {
  const { walk, after, rows } = at
  return adminDatabase(store)
    .select({ id: runs.id })
    .from(runs)
    .where(and(...walk, after === null ? undefined : lt(runs.id, after)))
    .orderBy(desc(runs.id))
    .offset(rows - 1)
    .limit(1)
}

export function pageQuery(
  store: Store,
  page: ListConditions & { after: string | null; upTo: string | null; limit: number },
) {
  const { all, withInput, after, upTo, limit } = page
  const columns = {
    ...getTableColumns(runs),
    ...(withInput ? {} : { input: sql<null>`null` }),
    output: sql<null>`null`,
  }
  return adminDatabase(store)
    .select(columns)
    .from(runs)
    .where(
      and(
        ...all,
        after === null ? undefined : lt(runs.id, after),
        upTo === null ? undefined : gte(runs.id, upTo),
      ),
    )
    .orderBy(desc(runs.id))
    .limit(limit)
}

/** What an input that holds such an event has somewhere; data may have it too, so the input decides. */
function handedConditions({ topic, eventId }: NonNullable<RunListFilter['handed']>): SQL[] {
  const holds = (name: string, value: string): SQL =>
    sql`strpos(${runs.input}, ${`"${name}":${JSON.stringify(value)}`}) > 0`
  return [
    ...(topic === undefined ? [] : [eq(runs.stream, streamOf(topic)), holds('topic', topic)]),
    ...(eventId === undefined ? [] : [holds('id', eventId)]),
  ]
}

/** Candidates whose inputs, of up to 1 MiB each, are held at a time. */
const candidatesMax = 20

/** Rows whose input does hold the event, at most `limit`. */
async function rowsHanded(
  handed: NonNullable<RunListFilter['handed']>,
  limit: number,
  read: (after: string | null, limit: number) => Promise<RunRow[]>,
): Promise<RunRow[]> {
  const stretch = new Stretch()
  const wanted: RunRow[] = []
  for (let after: string | null = null; ;) {
    const asked = Math.min(limit - wanted.length, candidatesMax)
    const candidates = await read(after, asked)
    for (const row of candidates) {
      if (isHanded(row.input, handed)) wanted.push({ ...row, input: null })
      await stretch.end()
    }
    if (candidates.length < asked || wanted.length === limit) return wanted
    after = candidates.at(-1)?.id ?? null
  }
}

function isHanded(input: string | null, { topic, eventId }: NonNullable<RunListFilter['handed']>): boolean {
  try {
    const { events } = JSON.parse(input ?? '') as { events: { topic: string; id: string }[] }
    return events.some(
      (event) =>
        (topic === undefined || event.topic === topic) && (eventId === undefined || event.id === eventId),
    )
  } catch {
    // A run that was started with something else.
    return false
  }
}

/** Windows of a trigger that begin at or before an event, the nearest first, of which so many are looked at. */
const windowsMax = 12_000

/** Who ever followed the partition has a cursor there, whatever became of the trigger. */
const spanningStatement = statement(
  'runs_spanning_event',
  `select r.id from (select c.trigger_id from trigger_cursors c where c.stream = $1 and c.partition = $2) c
   cross join lateral (
     select w.id from (
       select r.id, r.last_offset from runs r
       where r.trigger_id = c.trigger_id and r.stream = $1 and r.partition = $2 and r.first_offset <= $3
       order by r.first_offset desc limit ${windowsMax}) w
     where w.last_offset >= $3) r`,
)

/** Runs whose window spans an event. */
async function idsSpanning(
  store: Store,
  { stream, partition, sequenceId }: NonNullable<RunFilter['event']>,
): Promise<string[]> {
  const values = [stream, partition, sequenceId]
  return (await run<{ id: string }>(store.general, spanningStatement, values)).map(({ id }) => id)
}
