import { join } from 'node:path'
import { Client } from '@headrace/sdk'
import { openStore, type Store } from '@headrace/store'
import { abortTransaction, createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import type { WireList, WireRun, WireStep, WireWait } from '@headrace/schemas'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openGate } from '../harness/gate.ts'
import { readJournal } from '../harness/journal.ts'
import { getJson, type Platform, startPlatform, startWorker, restartApp } from '../harness/platform.ts'
import { endOf, parked, runOf, send, waitOn } from '../harness/waits.ts'

/** P5: an event that comes after the run began answers its wait, whether before or after the wait is registered. */

let platform: Platform
let url: string
let store: Store
let journal: string
let gate: string
const workflows = ['asks', 'late', 'loops', 'hurries', 'delegates', 'delegated']
const startOurWorker = async () =>
  await startWorker({
    gatewayUrl: url,
    databaseUrl: platform.options.databaseUrl,
    journal,
    workflows,
    env: { HEADRACE_TEST_GATE: gate },
  })
let worker: Awaited<ReturnType<typeof startOurWorker>>

beforeAll(async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  platform = await startPlatform({ brokers, prefix, databaseUrl })
  url = platform.gateway.url
  store = openStore({ url: databaseUrl, applicationName: 'test' })
  const folder = await testFolder('waits')
  journal = join(folder, 'bodies.jsonl')
  gate = join(folder, 'gate')
  worker = await startOurWorker()
})
afterAll(async () => await store.close())

describe('an answer', () => {
  test('that comes after the wait is the wait’s, and the run goes on with it', async () => {
    const asked = await send(url, 'asks/after', { on: 'answers/after' })
    const waiting = await parked(url, 'asks', asked)
    expect(waiting.waiting_for).toMatchObject([{ key: 'answer', kind: 'event', topic: 'answers/after' }])
    expect(waiting.worker_id).toBeNull()
    const wait = await waitOn(url, 'answers/after')
    expect(wait).toMatchObject({ run_id: waiting.id, key: 'answer', answer: null, lookback_truncated: false })
    const answer = await send(url, 'answers/after', { ok: true })
    const run = await endOf(url, 'asks', asked)
    expect(run).toMatchObject({
      status: 'completed',
      output: { topic: 'answers/after', data: { ok: true }, sequence_id: answer.sequenceId },
      waiting_for: [],
    })
    const steps: WireList<WireStep> = await getJson(`${url}/v1/runs/${run.id}/steps`)
    expect(steps.data.map(({ key, kind, status }) => `${key} ${kind} ${status}`)).toEqual([
      'before run completed',
      'answer event completed',
      'after run completed',
    ])
  })

  test('that came before the run reached its wait is found', async () => {
    const asked = await send(url, 'late/1', { on: 'answers/early' })
    await eventually('the step before the wait is held', () =>
      readJournal(journal).some(({ step }) => step === 'held'),
    )
    await send(url, 'answers/early', { early: true })
    openGate(gate)
    expect(await endOf(url, 'late', asked)).toMatchObject({ output: { data: { early: true } } })
  })

  test('that came before its stream was ever waited on, and before the run had a worker, is found', async () => {
    await worker.kill('SIGTERM')
    const asked = await send(url, 'asks/unmanned', { on: 'fresh/topic' })
    await runOf(url, 'asks', asked)
    await send(url, 'fresh/other', { not: 'this' })
    await send(url, 'fresh/topic', { first: true })
    await send(url, 'fresh/topic', { second: true })
    worker = await startOurWorker()
    expect(await endOf(url, 'asks', asked)).toMatchObject({ output: { data: { first: true } } })
  })

  test('that came while events were not read yet is found', async () => {
    const [service] = platform.triggerServices
    await service!.process.kill('SIGTERM')
    const asked = await send(url, 'asks/lagging', { on: 'answers/lagging' })
    await send(url, 'answers/lagging', { n: 1 })
    platform.triggerServices[0] = await restartApp('trigger-service', service!, platform.options)
    expect(await endOf(url, 'asks', asked)).toMatchObject({ output: { data: { n: 1 } } })
  })

  test('that came while its stream’s projection was held is found when that goes on', async () => {
    const asked = await send(url, 'asks/held', { on: 'answers/held' })
    await parked(url, 'asks', asked)
    const projection = async (status: string): Promise<void> => {
      await store.general.query(
        `update trigger_cursors set status = $1 where trigger_id = 'headrace:projection' and stream = 'answers'`,
        [status],
      )
    }
    // What copies an event finds out only afterwards that it may not: none that knew the cursor as live may be there.
    const [service] = platform.triggerServices
    await service!.process.kill('SIGTERM')
    await projection('paused')
    platform.triggerServices[0] = await restartApp('trigger-service', service!, platform.options)
    await send(url, 'answers/held', { held: true })
    await parked(url, 'asks', await send(url, 'asks/others', { on: 'others/go-on' }))
    expect((await parked(url, 'asks', asked)).status).toBe('waiting')
    await projection('live')
    expect(await endOf(url, 'asks', asked)).toMatchObject({ output: { data: { held: true } } })
  })

  test('is everybody’s who waits on its topic', async () => {
    const first = await send(url, 'asks/both', { on: 'answers/both' })
    const second = await send(url, 'asks/both', { on: 'answers/both' })
    await parked(url, 'asks', first)
    await parked(url, 'asks', second)
    const { sequenceId } = await send(url, 'answers/both', 1)
    for (const asked of [first, second])
      expect(await endOf(url, 'asks', asked)).toMatchObject({ output: { sequence_id: sequenceId } })
  })

  test('is the first that passes the filter', async () => {
    const asked = await send(url, 'asks/filter', { on: 'answers/filter', if: 'event.data.n >= 5' })
    await parked(url, 'asks', asked)
    for (const data of [{ n: 1 }, { other: 'field' }, { n: 4.5 }, { n: 7 }, { n: 9 }])
      await send(url, 'answers/filter', data)
    expect(await endOf(url, 'asks', asked)).toMatchObject({ output: { data: { n: 7 } } })
  })

  test('is never an event of the run’s own window', async () => {
    const asked = await send(url, 'asks/own', { on: 'asks/own' })
    await parked(url, 'asks', asked)
    const next = await send(url, 'asks/own', { on: 'asks/own' })
    expect(await endOf(url, 'asks', asked)).toMatchObject({ output: { sequence_id: next.sequenceId } })
  })
})

test('ten waits in a loop see ten events in order, though the worker is killed between them', async () => {
  const asked = await send(url, 'loops/1', { on: 'pieces/1', count: 10 })
  await send(url, 'pieces/1', { n: 0 })
  await send(url, 'pieces/1', { n: 1 })
  await parked(url, 'loops', asked)
  const bodies = (): number => readJournal(journal).filter(({ step }) => step?.startsWith('took_')).length
  for (let n = 2; n < 8; n += 1) {
    const before = bodies()
    await send(url, 'pieces/1', { n })
    await eventually('the loop went on', () => bodies() > before)
    if (n % 3 !== 0) continue
    await worker.kill('SIGKILL')
    worker = await startOurWorker()
  }
  await send(url, 'pieces/1', { n: 8 })
  await send(url, 'pieces/1', { n: 9 })
  expect((await endOf(url, 'loops', asked)).output).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(readJournal(journal).filter((entry) => entry.what === 'rerun')).toEqual([])
})

describe('a wait', () => {
  test('that nothing answers in time throws WaitTimeoutError, which the workflow may catch', async () => {
    const asked = await send(url, 'hurries/1', { on: 'never/comes', timeout: 1 })
    expect(await endOf(url, 'hurries', asked)).toMatchObject({
      status: 'completed',
      output: { timedOut: 'never/comes', timeoutMs: 1_000 },
    })
  })

  test('times out though its stream ends in an aborted transaction on every partition', async () => {
    const { brokers, prefix } = await infra()
    for (let n = 0; n < 4; n += 1) await send(url, 'aborted/before', { n }, `key-${n}`)
    for (let partition = 0; partition < 4; partition += 1)
      await abortTransaction(brokers, `${prefix}.events.aborted`, partition)
    const asked = await send(url, 'hurries/3', { on: 'aborted/never', timeout: 1 })
    expect(await endOf(url, 'hurries', asked)).toMatchObject({ output: { timedOut: 'aborted/never' } })
    const wait = await waitOn(url, 'aborted/never', 'timed_out')
    expect(wait.unverified).toBe(false)
  })

  test('does not time out while an accepted answer lies unread on its way', async () => {
    const asked = await send(url, 'hurries/2', { on: 'answers/late', timeout: 3_600 })
    await waitOn(url, 'answers/late')
    // Nobody projects now, so the answer is accepted and goes no further, until long after the wait is due.
    const [service] = platform.triggerServices
    await service!.process.kill('SIGKILL')
    await send(url, 'answers/late', { in: 'time' })
    await store.general.query(`update waits set expires_at = now() where topic = 'answers/late'`)
    await eventually('the wait is due for some time', async () => {
      const { rows } = await store.general.query<{ due: boolean }>(
        `select expires_at < now() - interval '2 s' as due from waits where topic = 'answers/late'`,
      )
      return rows[0]?.due === true
    })
    await waitOn(url, 'answers/late')
    platform.triggerServices[0] = await restartApp('trigger-service', service!, platform.options)
    expect(await endOf(url, 'hurries', asked)).toMatchObject({ output: { answer: { in: 'time' } } })
  })
})

test('a child run asks somebody, and its parent goes on with what it returned, though their worker died meanwhile', async () => {
  const asked = await send(url, 'delegates/1', {})
  const { id } = await parked(url, 'delegates', asked)
  const { data: waits }: WireList<WireWait> = await getJson(`${url}/v1/waits?run_id=${id}`)
  const child = waits[0]?.child_run_id ?? ''
  await eventually('the child waits for somebody', async () => {
    const { waiting_for }: WireRun = await getJson(`${url}/v1/runs/${child}`)
    return waiting_for.some(({ kind }) => kind === 'resume')
  })
  await worker.kill('SIGKILL')
  worker = await startOurWorker()
  await new Client({ url }).runs.resumeStep(child, 'ask/somebody', { ok: true })
  const { status, output } = await endOf(url, 'delegates', asked)
  expect({ status, output }).toEqual({
    status: 'completed',
    output: {
      aside: expect.any(String),
      answer: { input: { for: 'delegates/1' }, said: { ok: true } },
    },
  })
  const { aside } = output as { aside: string }
  expect(await getJson(`${url}/v1/runs/${aside}`)).toMatchObject({
    status: 'waiting',
    input: { for: 'nobody' },
    parent_run_id: id,
  })
})
