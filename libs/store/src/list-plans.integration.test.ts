import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { urlWithSettings } from './connection.ts'
import { accessesOf, type PlanValue, prepare } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import { listRuns, listWaits, newRunIds, type RunListFilter, type WaitFilter } from './index.ts'
import { aheadQuery, listConditions, pageQuery } from './queries/list-runs.ts'
import { waitConditions, waitsAheadQuery, waitsPageQuery } from './queries/list-waits.ts'
import { partitionName } from './partitions.ts'
import { runIdTime } from './run-id.ts'
import { statement } from './statement.ts'

const runsMany = 20_000
/** Of a longer list no more is looked at. */
const manyRows = 1_000
let scene: Scene
let session: Client
let ids: string[]
beforeAll(async () => {
  const { url } = await createDatabase()
  scene = await openScene(url)
  session = new Client({ connectionString: urlWithSettings(url, ['jit=off']) })
  await session.connect()
  const now = await scene.store.serverNow()
  ids = newRunIds(runsMany, now)
  // Of many completed runs of one workflow few are anything else: so a list must not pass over them one by one.
  await scene.row(
    `insert into runs (id, workflow, app, queue, status, input, output, error, tags, since, worker_id, claimed_at, started_at, queued_at,
       finished_at, trigger_id, trigger_version, stream, incarnation, partition, first_offset, last_offset, events)
     select id, case when n % 5000 = 9 then 'rare' else 'usual' end, 'shop', 'default', status, format('{"events":[{"topic":"orders/t","id":"e%s"}]}', n),
       case status when 'completed' then '{}' end, case status when 'failed' then '{}' end, jsonb_build_object('n', n::text), now(), 'w', now(), now(),
       now(), case when status in ('completed', 'failed', 'cancelled') then now() end, 'usual', 1, 'orders', 1, 0, n, n, 1
     from unnest($1::uuid[]) with ordinality u(id, n),
       lateral (select case n % 4000 when 5 then 'failed' when 6 then 'cancelled' when 7 then 'running' when 8 then 'waiting' else 'completed' end as status) s`,
    [ids],
  )
  await scene.row(
    `insert into waits (run_id, key, kind, status, topic, stream, since, asked_since, epoch, expires_at, checked_at, answered_at)
     select id, 'a', 'event', case when n % 5000 = 8 then 'open' else 'answered' end, concat('answers/', n), 'answers', now(), now(), 1, now(), now(),
       case when n % 5000 <> 8 then now() end
     from unnest($1::uuid[]) with ordinality u(id, n)`,
    [ids],
  )
  await scene.store.general.query('vacuum analyze runs, waits')
})
afterAll(async () => {
  await session.end()
  await scene.close()
})

interface Built {
  toSQL(): { sql: string; params: unknown[] }
}
let statements = 0
/** What the plan of a query reaches partitions with rows by; values are known when it is planned, as they are for the list. */
async function indexesOf(query: Built): Promise<(string | null)[]> {
  const { sql, params } = query.toSQL()
  statements += 1
  const prepared = statement(`list_${statements}`, sql)
  await prepare(session, prepared)
  const accesses = await accessesOf(session, prepared, params as PlanValue[])
  // Partitions of other days are empty, and may be read any way.
  const [today, others] = [partitionName('runs', runIdTime(ids[0]!)), /^runs_\d+$/]
  const reached = accesses.filter(({ relation }) => relation === today || !others.test(relation))
  return [...new Set(reached.map(({ index }) => index?.replace(/\d{8}_/, '') ?? null))]
}

describe('a list of runs', () => {
  const walks: [string, RunListFilter, RegExp][] = [
    ['nothing', { trigger: 'usual' }, /^runs_pkey$/],
    ['a status that most have', { status: ['completed', 'queued'] }, /^runs_pkey$/],
    ['its workflow', { workflow: 'rare', trigger: 'usual' }, /^runs_workflow_id_idx$/],
    ['failed', { status: ['failed'], trigger: 'usual' }, /^runs_id_idx$/],
    ['cancelled or timed out', { status: ['cancelled', 'timed_out'], workflow: 'rare' }, /^runs_id_idx$/],
  ]
  test.each(walks)('of which %s is known is walked by an index of it', async (_, filter, expected) => {
    const { walk } = await listConditions(scene.store, filter)
    const indexes = await indexesOf(aheadQuery(scene.store, { walk: walk!, after: ids.at(-1)!, rows: 1_000 }))
    expect(indexes.join(' ')).toMatch(expected)
  })

  const pages: [string, RunListFilter][] = [
    ['all runs', {}],
    ['a workflow', { workflow: 'rare' }],
    ['no workflow there is', { workflow: 'nobody' }],
    ['failed runs', { status: ['failed'] }],
    ['runs that timed out', { status: ['timed_out'] }],
    ['running runs', { status: ['running'] }],
    ['waiting runs', { status: ['waiting', 'paused'] }],
    ['an event', { event: { stream: 'orders', partition: 0, sequenceId: 77 } }],
    ['a time', { createdAfter: Date.now() - 60_000 }],
  ]
  test.each(pages)('of %s is read by indexes, without passing over others', async (_, filter) => {
    const conditions = await listConditions(scene.store, filter)
    expect(conditions.walk).toBeNull()
    const page = { ...conditions, after: ids.at(-1)!, upTo: null, limit: 51 }
    expect(await indexesOf(pageQuery(scene.store, page))).not.toContain(null)
  })

  const searches: [string, RunListFilter, number][] = [
    ['a tag', { tag: { key: 'n', value: '3' } }, 1],
    ['an event id', { handed: { eventId: 'e3' } }, 1],
    ['a topic', { handed: { topic: 'orders/t' } }, runsMany],
    ['a status and a workflow', { status: ['failed'], workflow: 'usual' }, 5],
    ['a workflow and a tag', { workflow: 'rare', tag: { key: 'n', value: '9' } }, 1],
    ['nothing that there is', { handed: { topic: 'orders/none' } }, 0],
  ]
  test.each(searches)(
    'of %s finds each once, and a stretch of it is read by an index',
    async (_, filter, found) => {
      const conditions = await listConditions(scene.store, filter)
      const stretch = { ...conditions, after: ids[2_000]!, upTo: ids[1_000]!, limit: 51 }
      expect(await indexesOf(pageQuery(scene.store, stretch))).not.toContain(null)
      const seen = new Set<string>()
      let cursor: string | null = null
      for (let page = 0; page < 5; page += 1) {
        const { runs, nextCursor } = await listRuns(scene.store, filter, { limit: 200, cursor })
        for (const { id } of runs) seen.add(id)
        cursor = nextCursor
        if (cursor === null) break
      }
      expect(seen.size).toBe(Math.min(found, 1_000))
    },
  )
})

describe('a list of waits', () => {
  test.each<[string, WaitFilter, RegExp]>([
    ['a run', { runId: '' }, /^waits_(pkey|live)$/],
    ['those open on a topic', { status: ['open'], topic: 'answers/8' }, /^waits_(open_topic|live)$/],
  ])('of %s is read by an index', async (_, filter, expected) => {
    const asked = filter.runId === undefined ? filter : { ...filter, runId: ids[8]! }
    const { walk, all } = waitConditions(asked)
    expect(walk).toBeNull()
    const indexes = await indexesOf(waitsPageQuery(scene.store, { all, after: null, upTo: null, limit: 51 }))
    expect(indexes.join(' ')).toMatch(expected)
  })

  test.each<[string, WaitFilter, RegExp, number]>([
    ['all', {}, /^waits_pkey$/, runsMany],
    ['those that are live', { status: ['open', 'pending'] }, /^waits_live$/, 4],
    ['those that were answered on a topic', { status: ['answered'], topic: 'answers/3' }, /^waits_pkey$/, 1],
    ['those that timed out', { status: ['timed_out'] }, /^waits_pkey$/, 0],
  ])('of %s is walked by an index, and finds each once', async (_, filter, expected, found) => {
    const { walk } = waitConditions(filter)
    const after = { runId: ids.at(-1)!, key: 'z' }
    const indexes = await indexesOf(waitsAheadQuery(scene.store, { walk: walk!, after, rows: 1_000 }))
    expect(indexes.join(' ')).toMatch(expected)
    const seen = new Set<string>()
    let cursor: Parameters<typeof listWaits>[2]['cursor'] = null
    do {
      const { waits, nextCursor } = await listWaits(scene.store, filter, { limit: 200, cursor })
      for (const { runId } of waits) seen.add(runId)
      cursor = nextCursor
    } while (cursor !== null && seen.size < manyRows)
    expect(Math.min(seen.size, manyRows)).toBe(Math.min(found, manyRows))
  })
})
