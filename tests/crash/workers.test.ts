import { join } from 'node:path'
import { createDatabase, eventually, infra, testFolder, type TestProcess } from '@headrace/testing'
import { beforeAll, expect, test } from 'vitest'
import { openGate } from '../harness/gate.ts'
import { readJournal } from '../harness/journal.ts'
import {
  allEnded,
  listRuns,
  type Platform,
  publish,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'

/** P3 and P6 with workers that lack the code, hang, and come and go. */

let platform: Platform
let databaseUrl: string
let folder: string
beforeAll(async () => {
  databaseUrl = (await createDatabase()).url
  platform = await startPlatform({ ...(await infra()), databaseUrl })
  folder = await testFolder('journal')
})

const worker = async (
  journal: string,
  workflows: string[],
  app: string,
  env: Record<string, string> = {},
): Promise<TestProcess> =>
  await startWorker({ gatewayUrl: platform.gateway.url, databaseUrl, journal, workflows, app, env })
const send = async (topic: string, count: number): Promise<void> => {
  const events = Array.from({ length: count }, (_, n) => ({ topic, data: { n } }))
  expect((await publish(platform.gateway.url, { events })).status).toBe(200)
}

test('of two workers with different workflows on one queue none gets a run without its code', async () => {
  const [ones, others] = [join(folder, 'ones.jsonl'), join(folder, 'others.jsonl')]
  const first = await worker(ones, ['only_one'], 'app-one')
  const second = await worker(others, ['only_other'], 'app-other')
  await send('only/one', 150)
  await send('only/other', 150)
  const runs = [
    ...(await allEnded(platform.gateway.url, 'only_one', 150)),
    ...(await allEnded(platform.gateway.url, 'only_other', 150)),
  ]
  expect(new Set(runs.map((run) => `${run.status} at epoch ${run.epoch}`))).toEqual(
    new Set(['completed at epoch 1']),
  )
  expect(new Set(readJournal(ones).map((entry) => entry.workflow))).toEqual(new Set(['only_one']))
  expect(new Set(readJournal(others).map((entry) => entry.workflow))).toEqual(new Set(['only_other']))
  await first.kill('SIGTERM')
  await second.kill('SIGTERM')
})

test('a rebalance during runs runs nothing again', async () => {
  const journal = join(folder, 'rebalance.jsonl')
  const gate = join(folder, 'rebalance.gate')
  const env = { HEADRACE_TEST_GATE: gate }
  const first = await worker(journal, ['gated'], 'app-gated', env)
  await send('gated/rebalance', 20)
  await eventually(
    'all 20 are held',
    () => readJournal(journal).filter((entry) => entry.step === 'held').length === 20,
  )
  const second = await worker(journal, ['gated'], 'app-gated', env)
  openGate(gate)
  const runs = await allEnded(platform.gateway.url, 'gated', 20)
  expect(new Set(runs.map((run) => `${run.status} at epoch ${run.epoch}`))).toEqual(
    new Set(['completed at epoch 1']),
  )
  const bodies = readJournal(journal).filter((entry) => entry.what !== 'handler')
  expect(bodies).toHaveLength(60)
  expect(new Set(bodies.map((entry) => entry.pid))).toEqual(new Set([first.pid]))
  await first.kill('SIGTERM')
  await second.kill('SIGTERM')
})

test('the runs of a worker that hangs go to another, which runs no stored step again; the first one’s late results count nothing', async () => {
  const journal = join(folder, 'hang.jsonl')
  const gate = join(folder, 'hang.gate')
  const before = new Set((await listRuns(platform.gateway.url, 'gated')).map((run) => run.id))
  const env = { HEADRACE_TEST_GATE: gate }
  const hanging = await worker(journal, ['gated'], 'app-gated', env)
  await send('gated/hang', 10)
  await eventually(
    'all 10 are held',
    () => readJournal(journal).filter((entry) => entry.step === 'held').length === 10,
  )
  process.kill(hanging.pid, 'SIGSTOP')
  const second = await worker(journal, ['gated'], 'app-gated', env)
  await eventually(
    'the second worker has all 10',
    () =>
      readJournal(journal).filter((entry) => entry.step === 'held' && entry.pid === second.pid).length === 10,
    { deadlineMs: 120_000 },
  )
  openGate(gate)
  const runs = (await allEnded(platform.gateway.url, 'gated', before.size + 10)).filter(
    (run) => !before.has(run.id),
  )
  expect(runs.map((run) => run.status)).toEqual(Array.from({ length: 10 }, () => 'completed'))
  process.kill(hanging.pid, 'SIGCONT')
  // It learns that it lost them, and goes on as a worker; nothing of what it does changes an ended run.
  await second.kill('SIGTERM')
  await send('gated/hang', 1)
  await allEnded(platform.gateway.url, 'gated', before.size + 11)
  const entries = readJournal(journal)
  expect(entries.filter((entry) => entry.what === 'rerun')).toEqual([])
  const again = (await listRuns(platform.gateway.url, 'gated')).filter((run) =>
    runs.some(({ id }) => id === run.id),
  )
  expect(again).toEqual(runs)
})
