import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hotSettings, urlWithSettings } from './connection.ts'
import { accessesOf, type PlanValue, prepare, settle } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import { dayMs } from './run-id.ts'
import { claimOfAnyDayStatement, claimStatement } from './queries/claim-runs.ts'
import {
  carefulCommandsStatement,
  commandsStatement,
  endingsStatement,
} from './queries/commands-statement.ts'
import { existingRunsStatement, flushStatement } from './queries/flush-windows.ts'
import { noteStatement } from './queries/note-open-windows.ts'
import { answersStatement } from './queries/read-answers.ts'
import { stepsByKeyStatement, stepsOfRunsStatement } from './queries/read-stored-steps.ts'
import { recoverStatement, requeueStatement } from './queries/recover-runs.ts'
import { runsHeldStatement } from './queries/runs-held.ts'
import { stealStatement } from './queries/steal-runs.ts'
import { newRunIds } from './run-id.ts'
import type { Statement } from './statement.ts'

/** As many commands as a busy batch holds. */
const batch = 300
const ids = newRunIds(batch, Date.now()).toSorted()
const places = ids.map((_, index) => index + 1)
const today = Math.floor(Date.now() / dayMs) * dayMs
/** Arrays of batch size: of one value each, or as they are. */
const columns = (...values: PlanValue[]): PlanValue[] =>
  values.map((value) => (Array.isArray(value) ? value : Array.from({ length: batch }, () => value)))

const primaryKey = /^(runs_\d{8}|steps_\d{8}|trigger_cursors)_pkey$/
const queued = /^runs_\d{8}_queue_queued_at_idx$/
const running = /^runs_\d{8}_worker_id_idx$/

/** Values are of batch size, because a plan made for them must be right too. `$6` of the steal: alone or not. */
const hot: { statement: Statement; values: PlanValue[]; indexes: RegExp[] }[] = [
  ...[claimStatement(today), claimOfAnyDayStatement].map((statement) => ({
    statement,
    values: columns(ids, 1, 'w1', true),
    indexes: [primaryKey],
  })),
  ...[commandsStatement(today), carefulCommandsStatement].map((statement) => ({
    statement,
    values: [
      ...columns(ids, 1, 'w1', 'complete', '{}', null),
      ...columns(places, 'key', 'run', 0, 0, '1', null, 1, 1, 1),
      32_768,
    ],
    indexes: [primaryKey],
  })),
  {
    statement: flushStatement,
    values: [
      ...columns('on_order', 'orders', 0, -1, 1, 1, '{}', 1, 1, 'e'),
      ...columns(places, 'w', 'a', 'b', 'q', 1, 1, null),
      ...columns(ids, places, 1, 1, 1, 1, '{}', '{}', null),
    ],
    indexes: [primaryKey],
  },
  { statement: noteStatement, values: columns('on_order', 'orders', 0, 1, 1, 1), indexes: [primaryKey] },
  { statement: stepsOfRunsStatement, values: [ids], indexes: [primaryKey] },
  { statement: stepsByKeyStatement, values: columns(ids, 'key'), indexes: [primaryKey] },
  { statement: answersStatement, values: columns(ids, 1, 'w1', 0), indexes: [primaryKey] },
  { statement: endingsStatement, values: columns(ids, 1), indexes: [primaryKey] },
  { statement: runsHeldStatement, values: columns(ids, 1, 'w1'), indexes: [primaryKey] },
  { statement: existingRunsStatement, values: [ids], indexes: [primaryKey] },
  { statement: requeueStatement, values: ['w1', null, 32_768, ...columns(ids, 1)], indexes: [primaryKey] },
  {
    statement: stealStatement,
    values: ['w1', 'default', ['on_order'], 50, 2_000, false],
    indexes: [primaryKey, queued, running],
  },
  { statement: recoverStatement, values: [900_000, '{}', 32_768, 5, 1_000], indexes: [primaryKey, running] },
]

let url: string
let scene: Scene
const sessions: Client[] = []
/** Sessions that prepared every statement, and settled for a plan, while the tables were empty. */
const early: Record<string, Client> = {}

beforeAll(async () => {
  url = (await createDatabase()).url
  scene = await openScene(url)
  // Analysed only when the test says so.
  const { rows } = await scene.store.general.query<{ name: string }>(
    `select relname as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
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

/** A session as the hot pool opens them, or one that may choose plans by their values. */
async function sessionOf(planCacheMode: string): Promise<Client> {
  const client = new Client({
    connectionString: urlWithSettings(url, [...hotSettings, `plan_cache_mode=${planCacheMode}`]),
  })
  sessions.push(client)
  await client.connect()
  for (const { statement } of hot) await prepare(client, statement)
  return client
}

/** Today's runs: a tenth queued, a tenth running, the rest completed, each with a step; and a cursor for each ten. */
async function growTo(count: number): Promise<void> {
  const { general } = scene.store
  const have = Number((await scene.row('select count(*)::int as runs from runs'))['runs'])
  const fresh = newRunIds(count - have, await scene.store.serverNow())
  await general.query(
    `insert into runs (id, workflow, app, queue, status, worker_id, claimed_at, started_at, finished_at, output, queued_at, since)
     select id, 'on_order', 'shop', 'default', s, case s when 'queued' then null else 'w' || n % 50 end, now(), now(),
       case s when 'completed' then now() end, case s when 'completed' then '{}' end, now(), now()
     from unnest($1::uuid[]) with ordinality u(id, n),
       lateral (select case n % 10 when 0 then 'queued' when 1 then 'running' else 'completed' end as s) t`,
    [fresh],
  )
  await general.query(
    `insert into steps (run_id, key, kind, n, epoch) select id, 'key', 'run', 0, 1 from unnest($1::uuid[]) u(id)`,
    [fresh],
  )
  await general.query(
    `insert into trigger_cursors (trigger_id, stream, partition, next_offset, version)
     select 't' || n, 's' || n % 20, n % 8, 0, 1 from generate_series($1::int, $2::int) n on conflict do nothing`,
    [have / 10 + 1, count / 10],
  )
}

/** What would be reached by anything but a look-up in an index that is allowed for it. */
async function wrongAccesses(client: Client, only = hot): Promise<unknown[]> {
  const wrong: unknown[] = []
  for (const { statement, values, indexes } of only) {
    const accesses = (await accessesOf(client, statement, values)).filter(({ relation }) =>
      /^(runs|steps|trigger_cursors)/.test(relation),
    )
    if (accesses.length === 0) wrong.push({ statement: statement.name, fault: 'reaches nothing' })
    for (const access of accesses) {
      const { index, bounded, joins } = access
      const right =
        index !== null && bounded && joins.length === 0 && indexes.some((each) => each.test(index))
      if (!right) wrong.push({ statement: statement.name, ...access })
    }
  }
  return wrong
}

test('the check sees what it is there for: the plain form of a statement, on a plain connection', async () => {
  const plain: Statement = {
    name: 'plain',
    text: `update runs r set wake = 1 from unnest($1::uuid[]) u(id) where r.id = u.id and r.status = 'running'`,
  }
  const client = new Client({ connectionString: url })
  sessions.push(client)
  await client.connect()
  await prepare(client, plain)
  const wrong = await wrongAccesses(client, [{ statement: plain, values: [ids], indexes: [primaryKey] }])
  expect(wrong.length).toBeGreaterThan(0)
})

const stages: [string, () => Promise<void>][] = [
  ['empty', async () => {}],
  ['of 1,000 runs', async () => await growTo(1_000)],
  ['of 1,000 runs, analysed', async () => void (await scene.store.general.query('analyze'))],
  ['of 50,000 runs', async () => await growTo(50_000)],
  ['of 50,000 runs, analysed', async () => void (await scene.store.general.query('analyze'))],
]

describe.each(stages)('on tables %s', (name, reach) => {
  beforeAll(reach)
  describe.each(['auto', 'force_generic_plan'])('with plan_cache_mode %s', (mode) => {
    test('a statement prepared now finds its rows by primary key', async () => {
      expect(await wrongAccesses(await sessionOf(mode))).toEqual([])
    })
    test(`a statement prepared while they were empty still does (now ${name})`, async () => {
      expect(await wrongAccesses(early[mode]!)).toEqual([])
    })
  })
})
