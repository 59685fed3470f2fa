import { join } from 'node:path'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import {
  getJson,
  allEnded,
  listRuns,
  metric,
  publish,
  startApp,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'

/** P2: every event is in exactly one window of its trigger, whatever dies. */

const total = 4_000

test('each of 4,000 events on 8 partitions is in exactly one window, though a trigger service that held an open window was killed', async () => {
  const { brokers, prefix } = await infra()
  const database = await createDatabase()
  const env = { HEADRACE_STREAM_PARTITIONS: '8' }
  const options = { brokers, prefix, databaseUrl: database.url, env: {} }
  const platform = await startPlatform({ ...options, env }, { triggerServices: 2 })
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  await startWorker({
    gatewayUrl: platform.gateway.url,
    databaseUrl: database.url,
    journal,
    workflows: ['ten_at_a_time'],
  })

  const sent: string[] = []
  const send = async (count: number): Promise<void> => {
    const from = sent.length
    const batch = Array.from({ length: count }, (_, n) => ({
      topic: 'windows/spread',
      key: `key-${(from + n) % 97}`,
      data: { n: from + n },
    }))
    const answer = await publish(platform.gateway.url, { events: batch })
    expect(answer.status).toBe(200)
    for (const event of answer.body.events ?? []) sent.push(`${event.partition}/${event.sequence_id}`)
  }
  for (let n = 0; n < 10; n += 1) await send(200)

  // The victim provably owns partitions, has flushed, and holds an open window: 2 s is long beside one look.
  const [first, second] = platform.triggerServices
  const victim = await eventually('a trigger service has flushed and holds an open window', async () => {
    for (const service of [first!, second!]) {
      const flushed = await metric(service, 'headrace_trigger_windows_total', { trigger: 'ten_at_a_time' })
      const open = await metric(service, 'headrace_trigger_open_windows', { trigger: 'ten_at_a_time' })
      if (flushed > 0 && open > 0) return service
    }
    await send(7)
    return null
  })
  await victim.process.kill('SIGKILL')
  await startApp('trigger-service', options)
  while (sent.length < total) await send(Math.min(200, total - sent.length))

  // Every event is accounted for once its windows have closed by time.
  await eventually(
    'all events are in windows',
    async () => {
      const runs = await listRuns(platform.gateway.url, 'ten_at_a_time')
      return runs.reduce((sum, run) => sum + (run.trigger?.events ?? 0), 0) >= total
    },
    { deadlineMs: 200_000 },
  )
  const runs = await allEnded(platform.gateway.url, 'ten_at_a_time', total / 10)
  expect(runs.every((run) => run.status === 'completed')).toBe(true)
  const seen: string[] = []
  for (const run of runs) {
    const { input } = await getJson<{ input: { events: { partition: number; sequence_id: number }[] } }>(
      `${platform.gateway.url}/v1/runs/${run.id}`,
    )
    const ids = input.events.map((event) => event.sequence_id)
    expect(ids).toEqual(ids.toSorted((a, b) => a - b))
    expect(ids).toHaveLength(run.trigger!.events)
    for (const event of input.events) seen.push(`${event.partition}/${event.sequence_id}`)
  }
  expect(seen).toHaveLength(total)
  expect(new Set(seen)).toEqual(new Set(sent))
})
