import { join } from 'node:path'
import { Client } from '@headrace/sdk/client'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { beforeAll, expect, test } from 'vitest'
import { openGate } from '../harness/gate.ts'
import { readJournal } from '../harness/journal.ts'
import { startPlatform, startWorker } from '../harness/platform.ts'
import { endOf, parked, runOf, send } from '../harness/waits.ts'

/** P4: a run ends once, whoever ends it; a retry is a new run that goes on behind what the other had stored. */

let url: string
let client: Client
let journal: string
let gate: string
beforeAll(async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const platform = await startPlatform({ brokers, prefix, databaseUrl })
  url = platform.gateway.url
  client = new Client({ url })
  const folder = await testFolder('steering')
  journal = join(folder, 'bodies.jsonl')
  gate = join(folder, 'gate')
  await startWorker({
    gatewayUrl: url,
    databaseUrl,
    journal,
    workflows: ['loops', 'late', 'ships'],
    env: { HEADRACE_TEST_GATE: gate },
  })
})

const bodies = (step: string): number => readJournal(journal).filter((line) => line.step === step).length

test('a run that is cancelled in the midst of a loop of waits is retried from there: none is skipped, none comes twice', async () => {
  const asked = await send(url, 'loops/1', { on: 'pieces/1', count: 3 })
  await parked(url, 'loops', asked)
  await send(url, 'pieces/1', { n: 0 })
  const { id } = await eventually('it waits for the second piece', async () => {
    const run = await runOf(url, 'loops', asked)
    return run?.waiting_for.some(({ key }) => key === 'piece_1') ? run : null
  })
  expect(await client.runs.cancel(id)).toMatchObject({ status: 'cancelled', waitingFor: [] })
  await send(url, 'pieces/1', { n: 1 })
  const retry = await client.runs.retry<number[]>(id)
  expect((await client.runs.retry(id)).id).toBe(retry.id)
  await send(url, 'pieces/1', { n: 2 })
  expect(await retry.result({ wait: '60s' })).toEqual([0, 1, 2])
  expect(await retry.get()).toMatchObject({ retryOf: id, attempt: 2 })
  expect([bodies('took_0'), bodies('took_1'), bodies('took_2')]).toEqual([1, 1, 1])
  expect(await client.runs.get(id)).toMatchObject({ status: 'cancelled' })
})

test('a run that is paused in the midst of a body loses that body’s result, and goes on from its last stored step', async () => {
  const asked = await send(url, 'late/1', { on: 'answers/late' })
  const { id } = await eventually('its body runs', async () => {
    const run = await runOf(url, 'late', asked)
    return bodies('held') === 1 ? run : null
  })
  expect(await client.runs.pause(id)).toMatchObject({ status: 'paused', workerId: null })
  openGate(gate)
  expect(await client.runs.resume(id)).toMatchObject({ status: 'queued', epoch: 2 })
  await parked(url, 'late', asked)
  expect(bodies('held')).toBe(2)
  await send(url, 'answers/late', { late: true })
  expect(await client.runs.result(id, { wait: '60s' })).toEqual({ data: { late: true } })
})

test('an event cancels the run of its order, and no other, wherever it is; a retry is not cancelled by it again', async () => {
  const [a, b] = [
    await send(url, 'ships/created', { order: 'a', customer: 'ann' }),
    await send(url, 'ships/created', { order: 'b', customer: 'bob' }),
  ]
  const [{ id }, other] = [await parked(url, 'ships', a), await parked(url, 'ships', b)]
  const at = await send(url, 'ships/cancelled', { order: 'a' })
  const run = await endOf(url, 'ships', a)
  expect(run).toMatchObject({ status: 'cancelled', waiting_for: [], error: { code: 'cancelled_by_event' } })
  expect(run.error?.message).toContain(`ships/cancelled at ships/${at.partition}/${at.sequenceId}`)
  const retry = await client.runs.retry(id)
  await send(url, 'paid/a', { paid: 'a' })
  await send(url, 'paid/b', { paid: 'b' })
  expect(await retry.result({ wait: '60s' })).toEqual({ paid: 'a' })
  expect(await client.runs.result(other.id, { wait: '60s' })).toEqual({ paid: 'b' })
})
