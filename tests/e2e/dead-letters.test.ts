import { join } from 'node:path'
import { createBroker } from '@headrace/broker'
import type { WireDeadLetter, WireEvent, WireExplanation, WireList } from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { openStore } from '@headrace/store'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { expect, onTestFinished, test } from 'vitest'
import { allEnded, getJson, listRuns, publish, startPlatform, startWorker } from '../harness/platform.ts'

test('a record that was set aside runs once when it is redriven 20 times at once, and again by who did not know', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const platform = await startPlatform({ brokers, prefix, databaseUrl })
  const { url } = platform.gateway
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  await startWorker({ gatewayUrl: url, databaseUrl, journal, workflows: ['three_steps'] })
  const first = await publish(url, { events: [{ topic: 'load/redriven', data: 1 }] })
  const partition = first.body.events?.[0]?.partition
  expect([first.status, partition]).toEqual([200, expect.any(Number)])

  const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  onTestFinished(async () => {
    await broker.close()
    await store.close()
  })
  const letter = {
    reason: 'json_too_deep',
    detail: 'nested deeper than an older version let pass',
    stream: 'load',
    partition: String(partition),
    offset: '0',
    ce_id: 'own',
    ce_subject: 'load/redriven',
  }
  const topic = `${prefix}.dead-letters`
  const record = { topic, partition: 0, key: 'load/0/0', value: '{"n":1}', headers: letter }
  expect(await broker.producer().produce([record])).toMatchObject([{ status: 'written' }])
  const { data: letters } = await getJson<WireList<WireDeadLetter>>(`${url}/v1/dead-letters?status=open`)
  expect(letters).toMatchObject([{ reason: 'json_too_deep', source: { stream: 'load' }, trigger: null }])
  const redrive = async (): Promise<WireDeadLetter> => {
    const answer = await fetch(`${url}/v1/dead-letters/${letters[0]!.id}/redrive`, { method: 'POST' })
    expect(answer.status).toBe(200)
    return (await answer.json()) as WireDeadLetter
  }
  await Promise.all(Array.from({ length: 20 }, redrive))
  // As if whoever redrove it had died before it could say so.
  await store.general.query(`update dead_letters set status = 'open', decided_at = null`)
  const { decision } = await redrive()

  const copies = await eventually('both copies are on the stream', async () => {
    const { data } = await getJson<WireList<WireEvent>>(`${url}/v1/events?topic=load/redriven`)
    const redriven = data.filter(({ source }) => source === 'headrace:dead-letter')
    return redriven.length === 2 && redriven
  })
  expect(copies.map(({ id }) => id)).toEqual([decision!.event_id, decision!.event_id])
  const explained = async (event: WireEvent): Promise<WireExplanation> =>
    await getJson(`${url}/v1/events/load/${event.partition}/${event.sequence_id}/explain`)
  const repeat = await eventually('the lane has passed over the second', async () => {
    const { triggers } = await explained(copies[1]!)
    return triggers[0]?.outcome === 'repeat' && triggers[0]
  })
  expect(repeat.detail).toContain(`sequence id ${copies[0]!.sequence_id}`)
  // What comes behind it on its partition runs, so the second copy was passed over; these three are all.
  await publish(url, { events: [{ topic: 'load/redriven', data: 2 }] })
  const runs = await allEnded(url, 'three_steps', 3)
  expect(runs.every(({ status }) => status === 'completed')).toBe(true)
  expect(await listRuns(url, 'three_steps')).toHaveLength(3)
  const [outcome] = (await explained(copies[0]!)).triggers
  expect(outcome).toMatchObject({ trigger: 'three_steps', outcome: 'run', run_id: expect.any(String) })
})
