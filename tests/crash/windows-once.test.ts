import { join } from 'node:path'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import type { WireReplay, WireRun } from '@headrace/schemas'
import { beforeAll, expect, test } from 'vitest'
import {
  getJson,
  allEnded,
  listRuns,
  metric,
  type Platform,
  publish,
  restartApp,
  startApp,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'

/** P2: every event is in exactly one window of its trigger, whatever dies. */

const total = 4_000
const sent: string[] = []
let platform: Platform

beforeAll(async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  platform = await startPlatform(
    { brokers, prefix, databaseUrl, env: { HEADRACE_STREAM_PARTITIONS: '8' } },
    { triggerServices: 2 },
  )
  await startWorker({
    gatewayUrl: platform.gateway.url,
    databaseUrl,
    journal: join(await testFolder('journal'), 'bodies.jsonl'),
    workflows: ['ten_at_a_time'],
  })
})

/** Where the events of these runs are, each run's in order. */
async function positionsOf(runs: readonly WireRun[]): Promise<string[]> {
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
  return seen
}

test('each of 4,000 events on 8 partitions is in exactly one window, though a trigger service that held an open window was killed', async () => {
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
  platform.triggerServices = [
    ...platform.triggerServices.filter((service) => service !== victim),
    await startApp('trigger-service', platform.options),
  ]
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
  const seen = await positionsOf(runs)
  expect(seen).toHaveLength(total)
  expect(new Set(seen)).toEqual(new Set(sent))
})

test.each(['trigger.before-flush', 'trigger.after-flush-before-task'])(
  'a replay of them all has each in exactly one window, though each trigger service was killed at %s',
  async (crashPoint) => {
    const { url } = platform.gateway
    const runsBefore = await listRuns(url, 'ten_at_a_time')
    // Whatever partitions each of them reads, it has several windows' flushes before it; the second kills it.
    platform.triggerServices = await Promise.all(
      platform.triggerServices.map(async (service) => {
        await service.process.kill('SIGTERM')
        return await restartApp('trigger-service', service, platform.options, {
          HEADRACE_CRASH_POINT: `${crashPoint}:2`,
        })
      }),
    )
    const answer = await fetch(`${url}/v1/triggers/ten_at_a_time/replay`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ from: 'earliest', dry_run: false }),
    })
    expect(answer.ok).toBe(true)
    const { id } = (await answer.json()) as WireReplay
    const replay = async (): Promise<WireReplay> =>
      await getJson(`${url}/v1/triggers/ten_at_a_time/replays/${id}`)
    const exits = platform.triggerServices.map(async ({ process }) => (await process.exit).signal)
    expect(await Promise.all(exits)).toEqual(['SIGKILL', 'SIGKILL'])
    expect((await replay()).status).toBe('running')

    platform.triggerServices = await Promise.all(
      platform.triggerServices.map(
        async (service) => await restartApp('trigger-service', service, platform.options),
      ),
    )
    await eventually('the replay is done', async () => (await replay()).status === 'done')
    const known = new Set(runsBefore.map((run) => run.id))
    const again = (await listRuns(url, 'ten_at_a_time')).filter((run) => !known.has(run.id))
    expect(again.map((run) => run.tags)).toEqual(again.map(() => ({ 'headrace.replay': id })))
    const seen = await positionsOf(again)
    expect(seen).toHaveLength(total)
    expect(new Set(seen)).toEqual(new Set(sent))
  },
)
