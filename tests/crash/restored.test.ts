import { join } from 'node:path'
import type { WireRun } from '@headrace/schemas'
import { migrate } from '@headrace/store'
import { eventually, infra, startOwnPostgres, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import { readJournal } from '../harness/journal.ts'
import {
  allEnded,
  getJson,
  listRuns,
  metric,
  publish,
  restartApp,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'

const topicsOf = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, n) => `load/${from + n}`)

/** docs/operations.md, "What a restore to an earlier point means". */
test('after a restore of Postgres to an earlier point everything since then happens again, and nothing is lost', async () => {
  const postgres = await startOwnPostgres()
  await migrate(postgres.url)
  const { brokers, prefix } = await infra()
  const options = { brokers, prefix, databaseUrl: postgres.url }
  const platform = await startPlatform(options)
  const { url } = platform.gateway
  const journal = join(await testFolder('restored'), 'bodies.jsonl')
  const workflows = ['three_steps', 'asks', 'delegated']
  await startWorker({ gatewayUrl: url, databaseUrl: postgres.url, journal, workflows })
  const publishAll = async (topics: string[]): Promise<void> => {
    const answer = await publish(url, { events: topics.map((topic) => ({ topic, data: { topic } })) })
    expect(answer.status).toBe(200)
  }
  const start = async (id: string): Promise<void> => {
    const response = await fetch(`${url}/v1/runs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id, workflow: 'delegated', input: null }),
    })
    expect(response.status).toBe(201)
  }
  const put = async (name: string, mode: 'enforce' | 'off'): Promise<void> => {
    const response = await fetch(`${url}/v1/event-types/${name}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        pattern: name.replace('.', '/'),
        schema_type: 'json',
        schema: { type: 'string' },
        mode,
      }),
    })
    expect(response.ok).toBe(true)
  }
  const refuses = async (topic: string): Promise<boolean> =>
    (await publish(url, { topic, data: 1 }, { 'idempotency-key': `${topic}-${Math.random()}` })).status ===
    422

  await publishAll(topicsOf(0, 20))
  await allEnded(url, 'three_steps', 20)
  await publish(url, { topic: 'asks/it', data: { on: 'answers/it' } })
  const asking = async () => (await listRuns(url, 'asks'))[0]
  await eventually('it waits', async () => (await asking())?.status === 'waiting')
  await put('typed.before', 'enforce')
  await eventually('the gateway knows the event type', async () => await refuses('typed/before'))

  await postgres.stop()
  const restore = await postgres.backup()
  await postgres.start()

  const before = await eventually(
    'it is back',
    async () => await listRuns(url, 'three_steps').catch(() => null),
  )
  await publishAll(topicsOf(20, 30))
  const all = await allEnded(url, 'three_steps', 30)
  const since = all.filter((run) => before.every(({ id }) => id !== run.id))
  expect(since).toHaveLength(10)
  await publish(url, { topic: 'answers/it', data: 'yes' })
  await eventually('it has its answer', async () => (await asking())?.status === 'completed')
  await start('by-api')
  await put('typed.before', 'off')
  await put('typed.after', 'enforce')
  await eventually(
    'the gateway knows the event types',
    async () => (await refuses('typed/after')) && !(await refuses('typed/before')),
  )

  // The order of docs/operations.md.
  const [orchestrator] = platform.orchestrators
  const [triggerService] = platform.triggerServices
  await triggerService!.process.kill('SIGTERM')
  await orchestrator!.process.kill('SIGTERM')
  await publishAll(topicsOf(30, 35))
  await postgres.stop()
  await restore()
  await postgres.start()
  await restartApp('orchestrator', orchestrator!, options)
  const triggers = await restartApp('trigger-service', triggerService!, options)

  const runs = await allEnded(url, 'three_steps', 35)
  const completed = await eventually('the wait is answered again', async () => {
    const run = await asking()
    return run?.status === 'completed' ? run : null
  })
  expect(runs.slice(0, 20).map(({ id }) => id)).toEqual(before.map(({ id }) => id))
  const ids = new Set(runs.map(({ id }) => id))
  expect(since.filter(({ id }) => ids.has(id))).toEqual([])
  const { output } = await getJson<WireRun>(`${url}/v1/runs/${completed.id}`)
  expect(output).toMatchObject({ topic: 'answers/it', data: 'yes' })
  // Not there any more, so made anew: 201.
  await start('by-api')

  const bodies = readJournal(journal).filter(({ step }) => step === 'third')
  expect(bodies).toHaveLength(20 + 10 * 2 + 5)
  expect(readJournal(journal).filter(({ what }) => what === 'rerun')).toEqual([])
  expect(await metric(triggers, 'headrace_topic_anomalies_total')).toBe(0)
  expect((await getJson<{ data: unknown[] }>(`${url}/v1/dead-letters`)).data).toEqual([])
  // What was told to the gateways since is taken back.
  await eventually(
    'the gateway knows the event types as they were',
    async () => !(await refuses('typed/after')) && (await refuses('typed/before')),
  )
  await put('typed.before', 'off')
  await eventually('the gateway hears of changes', async () => !(await refuses('typed/before')))
})
