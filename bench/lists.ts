import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres } from '@headrace/local'
import {
  ensurePartitions,
  listRuns,
  listWaits,
  migrate,
  openStore,
  type RunListFilter,
  type Store,
} from '@headrace/store'
import { percentile, round } from './statistics.ts'

const runsMany = 1_000_000
/** Rows of one insert: a statement has 15 s. */
const runsAtOnce = 50_000
const days = 6
const pages = 50
const limit = 50

export interface ListRow {
  list: string
  p50_ms: number
  p99_ms: number
  /** p50 and p99 divided by the p50 of the plain list of runs. */
  p50_ratio: number
  p99_ratio: number
  /** Rows of the first page, and whether there is another. */
  found: number
  more: boolean
}

/** The first page of each list of the API on 1,000,000 runs of six days, with each of its filters. */
export async function measureLists(): Promise<ListRow[]> {
  const folder = await mkdtemp(join(tmpdir(), 'headrace-bench-'))
  const postgres = await startPostgres({
    dataDir: folder,
    env: process.env,
    onProgress: console.error,
    settings: { shared_buffers: '512MB', max_wal_size: '4GB' },
  })
  try {
    await migrate(postgres.url)
    const store = openStore({ url: postgres.url, applicationName: 'bench', statementTimeoutMs: 600_000 })
    await fill(store)
    const rows = await measureAll(store)
    await store.close()
    return rows
  } finally {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Of the runs: nine in ten of workflow `usual`, 50 of `rare`; one in a hundred failed, one in a hundred waits, ten were
 * cancelled and 20 are running; each has a tag of its own, and was handed one event of an id of its own.
 */
async function fill(store: Store): Promise<void> {
  // Of the days ahead, whose partitions one can have made: plans and prices are the same.
  await ensurePartitions(store, { aheadDays: days })
  for (let first = 0; first < runsMany; first += runsAtOnce)
    await store.general.query(
      `insert into runs (id, workflow, app, queue, status, input, output, error, tags, trigger_id, trigger_version, stream, incarnation,
         partition, first_offset, last_offset, events, since, worker_id, claimed_at, started_at, created_at, queued_at, finished_at)
       select (lpad(to_hex((extract(epoch from at) * 1000)::int8), 12, '0') || '7' || lpad(to_hex(n & 4095), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid,
         workflow, 'bench', 'default', status,
         format('{"events":[{"sequence_id":%s,"topic":"orders/t%s","event_type":null,"data":{"n":%s},"created_at":"2026-11-23T12:00:00.000Z","id":"e%s"}]}', n / 4, n % 1000, n, n),
         case status when 'completed' then '{}' end, case status when 'failed' then '{}' end, jsonb_build_object('n', n::text),
         workflow, 1, 'orders', 1, n % 4, n / 4, n / 4, 1, at, case status when 'running' then 'w' end, at, at, at, at,
         case when status in ('completed', 'failed', 'cancelled') then at end
       from (select n, now() + make_interval(secs => ${days} * 86400.0 * n / ${runsMany}) as at,
           case when n % 20000 = 7 then 'rare' when n % 10 = 0 then 'other' else 'usual' end as workflow,
           case when n % 100000 = 5 then 'cancelled' when n % 50000 = 3 then 'running' when n % 100 = 1 then 'failed'
             when n % 100 = 2 then 'waiting' else 'completed' end as status
         from generate_series($1::int, $1::int + ${runsAtOnce} - 1) n) s`,
      [first],
    )
  await store.general.query(
    `insert into trigger_cursors (trigger_id, stream, partition, next_offset, version)
     select t, 'orders', p, 0, 1 from unnest('{usual,other,rare}'::text[]) t, generate_series(0, 3) p`,
  )
  await store.general.query(
    `insert into waits (run_id, key, kind, status, topic, stream, since, asked_since, epoch, expires_at, checked_at, answered_at)
     select id, k, 'event', case when status = 'waiting' and k = 'a' then 'open' when first_offset % 5000 = 0 then 'timed_out' else 'answered' end,
       'answers/' || first_offset, 'answers', created_at, created_at, 1, created_at, created_at,
       case when not (status = 'waiting' and k = 'a') then created_at end
     from runs, unnest('{a,b}'::text[]) k where first_offset % 5 = 0`,
  )
  await store.general.query('vacuum analyze')
}

/** So long before the newest run. */
const beforeLast = (hours: number): number => Date.now() + days * 86_400_000 - hours * 3_600_000

type Page = () => Promise<{ found: number; more: boolean }>

async function measureAll(store: Store): Promise<ListRow[]> {
  const lists: [string, Page][] = [
    ...runLists().map(([name, filter]): [string, Page] => [
      `runs: ${name}`,
      async () => {
        const { runs, nextCursor } = await listRuns(store, filter, { limit, cursor: null })
        return { found: runs.length, more: nextCursor !== null }
      },
    ]),
    ...waitLists.map(([name, filter]): [string, Page] => [
      `waits: ${name}`,
      async () => {
        const { waits, nextCursor } = await listWaits(store, filter, { limit, cursor: null })
        return { found: waits.length, more: nextCursor !== null }
      },
    ]),
  ]
  const rows: ListRow[] = []
  for (const [list, page] of lists) rows.push(await measure(list, page, rows[0]?.p50_ms ?? null))
  return rows
}

async function measure(list: string, page: Page, plainMs: number | null): Promise<ListRow> {
  let first = await page()
  const took: number[] = []
  for (let n = 0; n < pages; n += 1) {
    const began = performance.now()
    first = await page()
    took.push(performance.now() - began)
    // What takes so long is told by a few.
    if (n >= 4 && percentile(took, 50) > 500) break
  }
  const [p50, p99] = [percentile(took, 50), percentile(took, 99)]
  const ratio = (ms: number): number => round(ms / (plainMs ?? p50), 1)
  return {
    list,
    p50_ms: round(p50),
    p99_ms: round(p99),
    p50_ratio: ratio(p50),
    p99_ratio: ratio(p99),
    ...first,
  }
}

const runLists = (): [string, RunListFilter][] => [
  ['plain', {}],
  ['workflow', { workflow: 'usual' }],
  ['workflow, rare', { workflow: 'rare' }],
  ['workflow, none', { workflow: 'nobody' }],
  ['status=completed', { status: ['completed'] }],
  ['status=failed', { status: ['failed'] }],
  ['status=cancelled', { status: ['cancelled'] }],
  ['status=timed_out, none', { status: ['timed_out'] }],
  ['status=running', { status: ['running'] }],
  ['status=waiting', { status: ['waiting'] }],
  ['status=queued, none', { status: ['queued'] }],
  ['workflow, status=failed', { workflow: 'usual', status: ['failed'] }],
  ['workflow, rare, status=failed', { workflow: 'rare', status: ['failed'] }],
  ['trigger', { trigger: 'usual' }],
  ['trigger, rare', { trigger: 'rare' }],
  ['event position', { event: { stream: 'orders', partition: 1, sequenceId: 1_000 } }],
  ['topic', { handed: { topic: 'orders/t7' } }],
  ['topic, none', { handed: { topic: 'orders/nobody' } }],
  ['event_id, new', { handed: { eventId: `e${runsMany - 5_000}` } }],
  ['event_id, old', { handed: { eventId: 'e5000' } }],
  ['tag, new', { tag: { key: 'n', value: String(runsMany - 5_000) } }],
  ['tag, old', { tag: { key: 'n', value: '5000' } }],
  ['created_after', { createdAfter: beforeLast(1) }],
  ['created_before', { createdBefore: beforeLast(72) }],
]

const waitLists: [string, Parameters<typeof listWaits>[1]][] = [
  ['plain', {}],
  ['status=open', { status: ['open'] }],
  ['status=timed_out', { status: ['timed_out'] }],
  ['status=cancelled, none', { status: ['cancelled'] }],
  ['topic', { topic: 'answers/5000' }],
  ['topic, status=open', { topic: 'answers/5000', status: ['open'] }],
]
