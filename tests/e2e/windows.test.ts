import { join } from 'node:path'
import type { WireList, WireReplay, WireRun } from '@headrace/schemas'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { beforeAll, expect, test } from 'vitest'
import { allEnded, getJson, publish, startPlatform, startWorker } from '../harness/platform.ts'

let url: string
beforeAll(async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const platform = await startPlatform({ brokers, prefix, databaseUrl })
  url = platform.gateway.url
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  await startWorker({ gatewayUrl: url, databaseUrl, journal, workflows: ['ten_at_a_time'] })
})

test('25 events of one topic, a batch size of 10 and a timeout of 2 s: windows of 10, 10 and 5, in order', async () => {
  const events = Array.from({ length: 25 }, (_, n) => ({ topic: 'windows/ordered', data: { n } }))
  const answer = await publish(url, { events })
  expect(answer.status).toBe(200)
  const sequenceIds = answer.body.events?.map((event) => event.sequence_id) ?? []

  const runs = await allEnded(url, 'ten_at_a_time', 3)
  const byPosition = runs.toSorted((a, b) => a.trigger!.first_sequence_id - b.trigger!.first_sequence_id)
  expect(byPosition.map((run) => [run.status, run.trigger?.events])).toEqual([
    ['completed', 10],
    ['completed', 10],
    ['completed', 5],
  ])
  const inputs = await Promise.all(
    byPosition.map(
      async (run) =>
        await getJson<{ input: { events: { sequence_id: number; data: { n: number } }[] } }>(
          `${url}/v1/runs/${run.id}`,
        ),
    ),
  )
  const seen = inputs.flatMap(({ input }) => input.events)
  expect(seen.map((event) => event.data.n)).toEqual(events.map((event) => event.data.n))
  expect(seen.map((event) => event.sequence_id)).toEqual(sequenceIds)
})

test('a replay of some of them starts what its dry run counted, once, though it is asked for twice', async () => {
  const [last] = (await allEnded(url, 'ten_at_a_time', 3)).toSorted(
    (a, b) => b.trigger!.last_sequence_id - a.trigger!.last_sequence_id,
  )
  const { partition, last_sequence_id: end } = last!.trigger!
  const replay = async (body: unknown): Promise<WireReplay> => {
    const answer = await fetch(`${url}/v1/triggers/ten_at_a_time/replay`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(answer.ok).toBe(true)
    return (await answer.json()) as WireReplay
  }
  const range = { id: crypto.randomUUID(), from: { offsets: { [partition]: end - 16 } } }
  const done = async ({ id }: WireReplay): Promise<WireReplay> =>
    await eventually('the replay is done', async () => {
      const now = await getJson<WireReplay>(`${url}/v1/triggers/ten_at_a_time/replays/${id}`)
      return now.status === 'done' && now
    })
  const dry = await done(await replay({ from: range.from }))
  expect(dry.counts).toMatchObject({ windows: 2, events: 17, repeats: 0 })
  const begun = await replay({ ...range, dry_run: false })
  await done(begun)
  await replay({ ...range, dry_run: false })
  const runs = await allEnded(url, 'ten_at_a_time', 5)
  expect(runs.map(({ trigger }) => trigger!.events)).toEqual([10, 10, 5, 10, 7])
  const { data } = await getJson<WireList<WireRun>>(`${url}/v1/runs?tag=headrace.replay:${begun.id}`)
  expect(data.map(({ id }) => id).toSorted()).toEqual(runs.slice(3).map(({ id }) => id))
})
