import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hotSettings, urlWithSettings } from './connection.ts'
import { accessesOf, type PlanValue, prepare, settle } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import { admitStatement, heldKeysStatement } from './queries/admit-runs.ts'
import { nextDelayedStatement, releaseDelayedStatement } from './queries/release-delayed-runs.ts'
import { retriesStatement, retryStatement } from './queries/retry-runs.ts'
import { resumeUnfitStatement } from './queries/resume-unfit-runs.ts'
import { cancelStatement, pauseStatement, resumeStatement } from './queries/steer-runs.ts'
import { nextTimeOutStatement, timeOutRunsStatement } from './queries/time-out-runs.ts'
import { newRunIds } from './run-id.ts'
import type { Statement } from './statement.ts'

const ids = newRunIds(50, Date.now()).toSorted()
const key = /^(runs_\d{8}|steps_\d{8}|waits|run_notes|workflows)_pkey$/
const waitsOfRun = /^waits_(pkey|live)$/
const delayed = /^runs_\d{8}_run_at_idx$/
/** Of a key: what is under way is counted, what is held is taken in its order. */
const admitted = /^runs_\d{8}_workflow_concurrency_key_idx$/
const held = /^runs_\d{8}_workflow_concurrency_key_created_at_/
/** Paused by their workers. */
const unfit = /^runs_\d{8}_workflow_idx\d*$/
const expiring = /^runs_\d{8}_expires_at_idx$/

/** `ranges`: indexes that may be walked, because their predicate leaves only what is looked for. */
const statements: { statement: Statement; values: PlanValue[]; lookups: RegExp[]; ranges: RegExp[] }[] = [
  ...[cancelStatement, pauseStatement, resumeStatement].map((statement) => ({
    statement,
    values: [ids],
    lookups: [key],
    ranges: [],
  })),
  { statement: resumeUnfitStatement, values: [8_000], lookups: [key], ranges: [unfit] },
  { statement: retryStatement, values: [ids, ids, ids], lookups: [key, waitsOfRun], ranges: [] },
  { statement: retriesStatement, values: [ids], lookups: [key], ranges: [] },
  { statement: timeOutRunsStatement, values: [1_000], lookups: [key], ranges: [expiring] },
  { statement: nextTimeOutStatement, values: [], lookups: [], ranges: [expiring] },
  { statement: releaseDelayedStatement, values: [1_000], lookups: [key], ranges: [delayed] },
  { statement: nextDelayedStatement, values: [], lookups: [], ranges: [delayed] },
  {
    statement: admitStatement,
    values: [
      ['on_order', 'on_order'],
      ['k1', 'k2'],
    ],
    lookups: [key, admitted, held],
    ranges: [],
  },
  { statement: heldKeysStatement, values: ['', '', 1_000], lookups: [key, admitted], ranges: [held] },
]

let scene: Scene
let early: Client
let url: string
const sessions: Client[] = []
beforeAll(async () => {
  url = (await createDatabase()).url
  scene = await openScene(url)
  early = await session()
  for (const { statement, values } of statements) await settle(early, statement, values)
})
afterAll(async () => {
  await Promise.all(sessions.map(async (each) => await each.end()))
  await scene.close()
})

async function session(): Promise<Client> {
  const client = new Client({ connectionString: urlWithSettings(url, hotSettings) })
  sessions.push(client)
  await client.connect()
  for (const { statement } of statements) await prepare(client, statement)
  return client
}

/** Today's runs: one in a hundred delayed, one in twenty under a concurrency key, held or let in, one in ten with a time-out; each with a step, and one in ten with a wait. */
async function grow(count: number): Promise<void> {
  const fresh = newRunIds(count, await scene.store.serverNow())
  await scene.store.general.query(
    `insert into runs (id, workflow, app, queue, status, concurrency_key, blocked_reason, run_at, expires_at, finished_at, output, queued_at, since)
     select id, 'on_order', 'shop', 'default', case when live then 'queued' else 'completed' end,
       case when n % 20 = 10 then 'k' || n % 7 end,
       case when n % 100 = 0 then 'delayed' when n % 40 = 10 then 'concurrency' end, case when n % 100 = 0 then now() + interval '1 hour' end,
       case when n % 10 = 0 then now() + interval '1 hour' end,
       case when not live then now() end, case when not live then '{}' end, now(), now()
     from unnest($1::uuid[]) with ordinality u(id, n), lateral (select n % 10 = 0 as live) l`,
    [fresh],
  )
  await scene.store.general.query(
    `insert into steps (run_id, key, kind, n, epoch) select id, 'key', 'run', 0, 1 from unnest($1::uuid[]) u(id)`,
    [fresh],
  )
  await scene.store.general.query(
    `insert into waits (run_id, key, kind, status, since, asked_since, epoch, expires_at, answered_at)
     select id, 'wait', 'time', 'answered', now(), now(), 1, now(), now() from unnest($1::uuid[]) with ordinality u(id, n) where n % 10 = 0`,
    [fresh],
  )
  await scene.store.general.query(
    `insert into run_notes (run_id, epoch, kind) select id, 1, 'stolen' from unnest($1::uuid[]) u(id)`,
    [fresh],
  )
}

async function wrongAccesses(client: Client): Promise<unknown[]> {
  const wrong: unknown[] = []
  for (const { statement, values, lookups, ranges } of statements) {
    const accesses = (await accessesOf(client, statement, values)).filter(({ relation }) =>
      /^(runs|steps|waits|run_notes)/.test(relation),
    )
    if (accesses.length === 0) wrong.push({ statement: statement.name, fault: 'reaches nothing' })
    for (const access of accesses) {
      const { index, bounded, joins, sorted } = access
      const named = (expected: RegExp[]): boolean =>
        index !== null && expected.some((each) => each.test(index))
      const right = (bounded && named(lookups)) || (!sorted && named(ranges))
      if (!right || joins.length > 0) wrong.push({ statement: statement.name, ...access })
    }
  }
  return wrong
}

const stages: [string, () => Promise<void>][] = [
  ['empty', async () => {}],
  ['of 20,000 runs', async () => await grow(20_000)],
  ['of 20,000 runs, analysed', async () => void (await scene.store.general.query('analyze'))],
]

describe.each(stages)('on tables %s', (_name, reach) => {
  beforeAll(reach)
  test('what steers runs finds them by key, and what is due by its time, planned now or while they were empty', async () => {
    expect(await wrongAccesses(await session())).toEqual([])
    expect(await wrongAccesses(early)).toEqual([])
  })
})
