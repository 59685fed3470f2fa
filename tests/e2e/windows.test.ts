import { join } from 'node:path'
import { createDatabase, infra, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import { allEnded, getJson, publish, startPlatform, startWorker } from '../harness/platform.ts'

test('25 events of one topic, a batch size of 10 and a timeout of 2 s: windows of 10, 10 and 5, in order', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const platform = await startPlatform({ brokers, prefix, databaseUrl })
  const { url } = platform.gateway
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  await startWorker({ gatewayUrl: url, databaseUrl, journal, workflows: ['ten_at_a_time'] })

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
