import { join } from 'node:path'
import { openStore } from '@headrace/store'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import { publish, restartApp, startApp, startWorker } from '../harness/platform.ts'

/** A concurrency limit of 1 is ordered processing for each key, and nothing is held for ever, whatever dies. */

const total = 10_000
const keys = 100

test('10,000 runs over 100 keys run one after the other for each key, though an orchestrator, two trigger services and a worker are killed', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const options = { brokers, prefix, databaseUrl, env: { HEADRACE_STREAM_PARTITIONS: '4' } }
  const dyingAt = (point: string) => ({ HEADRACE_CRASH_POINT: point })
  const orchestrator = await startApp(
    'orchestrator',
    options,
    dyingAt('admit.after-commit-before-dispatch:40'),
  )
  const [gateway, triggers] = await Promise.all([
    startApp('gateway', options, { HEADRACE_ORCHESTRATOR_URL: orchestrator.url }),
    startApp('trigger-service', options, dyingAt('admit.before-commit')),
  ])
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  const worker = async () =>
    await startWorker({ gatewayUrl: gateway.url, databaseUrl, journal, workflows: ['in_turn'] })
  const victim = await worker()
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const ended = async (): Promise<number> => {
    const { rows } = await store.general.query<{ runs: number }>(
      `select count(*)::int as runs from runs where status = 'completed'`,
    )
    return rows[0]?.runs ?? 0
  }

  const send = async (from: number, to: number): Promise<void> => {
    for (let at = from; at < to; at += 1_000) {
      const events = Array.from({ length: 1_000 }, (_, n) => {
        const key = `key-${(at + n) % keys}`
        return { topic: 'turns/taken', key, data: { key, n: at + n } }
      })
      expect((await publish(gateway.url, { events })).status).toBe(200)
    }
  }
  const restarted = orchestrator.process.exit.then(
    async () => await restartApp('orchestrator', orchestrator, options),
  )
  // Each has runs to let in that the one before cannot have seen.
  await send(0, total / 2)
  await triggers.process.exit
  const next = await startApp('trigger-service', options, dyingAt('admit.after-commit-before-dispatch'))
  await send(total / 2, total)
  await next.process.exit
  await startApp('trigger-service', options)
  await eventually('some have ended', async () => (await ended()) > total / 10)
  await Promise.all([victim.kill('SIGKILL'), worker()])
  await restarted
  await eventually('all have ended', async () => (await ended()) === total, { deadlineMs: 240_000 })

  // Each begins, by Postgres's clock, when the one before it on its key has ended; and the log's order is theirs.
  const { rows } = await store.general.query<{ key: string; runs: number; in_turn: boolean }>(
    `select concurrency_key as key, count(*)::int as runs,
       bool_and(started_at >= coalesce(before, started_at)) as in_turn
     from (select concurrency_key, started_at,
             lag(finished_at) over (partition by concurrency_key order by first_offset) as before from runs) r
     group by 1`,
  )
  expect(rows.length).toBe(keys)
  expect(rows.filter(({ runs, in_turn: inTurn }) => runs !== total / keys || !inTurn)).toEqual([])
  await store.close()
})
