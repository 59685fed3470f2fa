import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hotSettings, urlWithSettings } from './connection.ts'
import { accessesOf, type PlanValue, prepare, settle } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import { withResponsePartitions } from './partitions.ts'
import { childWaitsStatement } from './queries/answer-children.ts'
import { dueTimersStatement, nextTimerStatement } from './queries/answer-timers.ts'
import { answerStatement } from './queries/answer-waits.ts'
import { cancelByEventsStatement } from './queries/cancel-by-events.ts'
import { cancelTermsStatement } from './queries/cancel-terms.ts'
import { insertCancelWaitsStatement } from './queries/cancel-waits.ts'
import { markCheckedStatement } from './queries/checked-waits.ts'
import { openWaitTermsStatement } from './queries/open-wait-terms.ts'
import { openPendingStatement, openWaitsStatement } from './queries/open-waits.ts'
import { registerStatement } from './queries/register-waits-statement.ts'
import {
  latestResponsesStatement,
  responsePagesStatement,
  responsePlacesStatement,
} from './queries/response-pages.ts'
import { startChildrenStatement } from './queries/start-children-statement.ts'
import { dueEventWaitsStatement } from './queries/time-out-waits.ts'
import { newRunIds } from './run-id.ts'
import type { Statement } from './statement.ts'

const batch = 300
const ids = newRunIds(batch, Date.now()).toSorted()
const columns = (...values: PlanValue[]): PlanValue[] =>
  values.map((value) => (Array.isArray(value) ? value : Array.from({ length: batch }, () => value)))
const topics = Array.from({ length: batch }, (_, n) => `s${n % 20}/${n}`)

const primaryKey =
  /^(runs_\d{8}|steps_\d{8}|run_ids|responses_\d{10}|waits|waited_streams|latest_responses)_pkey$/
const exactly = (index: string): RegExp => new RegExp(`^${index}$`)

interface Hot {
  statement: Statement
  values: PlanValue[]
  indexes: RegExp[]
  /** What it walks on purpose: a row for each stream, or each open wait for a run. */
  walks?: string
}
const hot: Hot[] = [
  {
    statement: registerStatement,
    values: [
      ...columns(ids, 'key', 1, 'w1', 0, 'event', 's1/1', 's1', null, 'from_now', 1_000, 1_000),
      86_400_000,
      ids[0]!,
      ids.at(-1)!,
    ],
    indexes: [primaryKey, exactly('waits_live')],
  },
  {
    statement: answerStatement,
    values: columns(ids, 'key', 'event', 1, 0, 1, 1_795_000_000_000, false, null),
    indexes: [primaryKey],
  },
  {
    statement: startChildrenStatement,
    values: columns(ids, 'key', 1, 'w1', 0, 'report', 'null', 1_000, ids, 'customer-1', null),
    indexes: [primaryKey, exactly('waits_live')],
  },
  { statement: childWaitsStatement, values: [ids[0]!, 1_000], indexes: [primaryKey], walks: 'waits' },
  {
    statement: insertCancelWaitsStatement,
    values: columns(ids, 'key', topics, 's1', 'event.data', null),
    indexes: [primaryKey],
  },
  { statement: cancelTermsStatement, values: columns(ids, 'key'), indexes: [primaryKey] },
  { statement: cancelByEventsStatement, values: columns(ids, 'key', 1, 0, 1), indexes: [primaryKey] },
  { statement: openWaitTermsStatement, values: columns(ids, 'key'), indexes: [primaryKey] },
  {
    statement: responsePlacesStatement,
    values: [...columns(topics, 1_700_000_000_000), 1_700_000_000_000],
    indexes: [primaryKey],
  },
  {
    statement: responsePagesStatement,
    values: [
      ...columns(topics, 1, 0, -1, 1_700_000_000_000, null, null, 200, true),
      1_048_576,
      1_700_000_000_000,
    ],
    indexes: [primaryKey],
  },
  { statement: latestResponsesStatement, values: columns(topics, true), indexes: [primaryKey] },
  {
    statement: openWaitsStatement,
    values: [topics, null, null, null, 500],
    indexes: [exactly('waits_open_topic')],
  },
  {
    statement: openPendingStatement,
    values: [1_000],
    indexes: [primaryKey, exactly('waits_pending')],
    walks: 'waited_streams',
  },
  { statement: markCheckedStatement, values: columns(ids, 'key'), indexes: [primaryKey] },
  { statement: dueTimersStatement, values: [1_000], indexes: [primaryKey, exactly('waits_due')] },
  { statement: nextTimerStatement, values: [], indexes: [exactly('waits_due')] },
  {
    statement: dueEventWaitsStatement,
    values: [null, null, null, 1_000],
    indexes: [primaryKey, exactly('waits_due')],
  },
]

let url: string
let scene: Scene
const sessions: Client[] = []
/** Sessions that prepared every statement, and settled for a plan, while the tables were empty. */
const early: Record<string, Client> = {}

beforeAll(async () => {
  url = (await createDatabase()).url
  scene = await openScene(url)
  const hour = 3_600_000
  const now = await scene.store.serverNow()
  // As many as a day's look-back keeps, and those ahead.
  await withResponsePartitions(
    scene.store,
    Array.from({ length: 30 }, (_, n) => now + (n - 24) * hour),
    async () => await Promise.reject(Object.assign(new Error('none'), { code: '23514' })),
  ).catch(() => {})
  const { rows } = await scene.store.general.query<{ name: string }>(
    `select relname as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
  // Analysed only when the test says so.
  for (const { name } of rows)
    await scene.store.general.query(`alter table ${name} set (autovacuum_enabled = off)`)
  for (const mode of ['auto', 'force_generic_plan']) {
    const client = await sessionOf(mode)
    early[mode] = client
    for (const { statement, values } of hot) await settle(client, statement, values)
  }
})
afterAll(async () => {
  await Promise.all(sessions.map(async (session) => await session.end()))
  await scene.close()
})

async function sessionOf(planCacheMode: string): Promise<Client> {
  const client = new Client({
    connectionString: urlWithSettings(url, [...hotSettings, `plan_cache_mode=${planCacheMode}`]),
  })
  sessions.push(client)
  await client.connect()
  for (const { statement } of hot) await prepare(client, statement)
  return client
}

/** Five waits a run: most of them open, on 20 streams; and as many responses over the hours of a day. */
async function growTo(waits: number): Promise<void> {
  const { general } = scene.store
  const have = Number((await scene.row('select count(*)::int as waits from waits'))['waits'])
  const fresh = newRunIds((waits - have) / 5, await scene.store.serverNow())
  await general.query(
    `insert into runs (id, workflow, app, queue, status, queued_at, since) select id, 'on_order', 'shop', 'default', 'waiting', now(), now()
     from unnest($1::uuid[]) u(id)`,
    [fresh],
  )
  await general.query(
    `insert into waits (run_id, key, kind, status, topic, stream, child_run_id, since, asked_since, epoch, expires_at, answered_at)
     select id, 'key' || k, case when k = 4 then 'time' when k < 3 then 'event' when n % 3 = 0 then 'resume' else 'run' end, s,
       case when k < 3 then 's' || n % 20 || '/' || n % 1000 end, case when k < 3 then 's' || n % 20 end, case k when 3 then id end, now(), now(), 1, now() + make_interval(secs => (n % 7200) - 60),
       case s when 'answered' then now() end
     from unnest($1::uuid[]) with ordinality u(id, n), generate_series(0, 4) k,
       lateral (select case when k = 0 then 'answered' when k = 1 and n % 2 = 0 then 'pending' else 'open' end as s) t`,
    [fresh],
  )
  await general.query(
    `insert into run_ids (workflow, external_id, run_id) select 'headrace:child', id || '/key', id from unnest($1::uuid[]) u(id)`,
    [fresh],
  )
  await general.query(
    `insert into responses (topic, log_time, stream, incarnation, partition, sequence_id, id, source, data)
     select 's' || n % 20 || '/' || n % 1000, now() - make_interval(secs => n % 80000), 's' || n % 20, 1, n % 4, n, 'e', 's', '1'
     from generate_series($1::int, $2::int) n`,
    [have, waits],
  )
  await general.query(
    `insert into waited_streams (stream, projected_from, open_from) select 's' || n, now() - interval '1 d', now() - interval '1 d'
     from generate_series(0, 19) n on conflict do nothing`,
  )
  await general.query(
    `insert into latest_responses select 's' || n % 20 || '/' || n % 1000, now(), 's', 1, 0, n, 'e', 's', null, null, '1', null
     from generate_series(0, 999) n on conflict do nothing`,
  )
}

/** What would be reached by anything but a look-up in an index that is allowed for it, or sorted before its first row. */
async function wrongAccesses(client: Client, only = hot): Promise<unknown[]> {
  const wrong: unknown[] = []
  for (const { statement, values, indexes, walks } of only) {
    const accesses = (await accessesOf(client, statement, values)).filter(
      ({ relation }) =>
        /^(runs|run_ids|steps|waits|responses|waited_streams|latest_responses)/.test(relation) &&
        relation !== walks,
    )
    if (accesses.length === 0) wrong.push({ statement: statement.name, fault: 'reaches nothing' })
    for (const access of accesses) {
      const { index, bounded, joins, sorted } = access
      const named = index !== null && indexes.some((each) => each.test(index))
      if (!named || !bounded || joins.length > 0 || sorted)
        wrong.push({ statement: statement.name, ...access })
    }
  }
  return wrong
}

test('the check sees what it is there for: responses that are sorted before the first is taken', async () => {
  const byTime: Statement = {
    name: 'by_time',
    text: `select * from responses where topic = $1 and incarnation = 1 and partition = 0 order by log_time limit 1`,
  }
  const client = early['auto']!
  await prepare(client, byTime)
  const wrong = await wrongAccesses(client, [{ statement: byTime, values: ['s1/1'], indexes: [primaryKey] }])
  expect(wrong).toContainEqual(expect.objectContaining({ sorted: true, bounded: true }))
})

const analyse = async (): Promise<void> => void (await scene.store.general.query('analyze'))
const stages: [string, () => Promise<void>][] = [
  ['empty', async () => {}],
  ['of 1,000 waits', async () => await growTo(1_000)],
  ['of 1,000 waits, analysed', analyse],
  ['of 100,000 waits', async () => await growTo(100_000)],
  ['of 100,000 waits, analysed', analyse],
]

describe.each(stages)('on tables %s', (name, reach) => {
  beforeAll(reach)
  describe.each(['auto', 'force_generic_plan'])('with plan_cache_mode %s', (mode) => {
    test('a statement prepared now finds its rows by their key', async () => {
      expect(await wrongAccesses(await sessionOf(mode))).toEqual([])
    })
    test(`a statement prepared while they were empty still does (now ${name})`, async () => {
      expect(await wrongAccesses(early[mode]!)).toEqual([])
    })
  })
})
