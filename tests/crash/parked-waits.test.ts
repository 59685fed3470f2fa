import { join } from 'node:path'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { openStore } from '@headrace/store'
import { expect, test } from 'vitest'
import { residentMib } from '../harness/memory.ts'
import { publish, startPlatform, startWorker } from '../harness/platform.ts'

/** P5 with many: a parked run costs rows, and every answer finds its own. */

const total = 10_000
const atOnce = 1_000

test('10,000 parked waits get their own of 10,000 answers in random order, though one of two orchestrators was killed', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const platform = await startPlatform({ brokers, prefix, databaseUrl }, { orchestrators: 2 })
  const { url } = platform.gateway
  await startWorker({
    gatewayUrl: url,
    databaseUrl,
    journal: join(await testFolder('waits'), 'bodies.jsonl'),
    workflows: ['parks'],
  })
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const count = async (status: string): Promise<number> => {
    const { rows } = await store.general.query<{ count: number }>(
      `select count(*)::int from runs where workflow = 'parks' and status = $1`,
      [status],
    )
    return rows[0]?.count ?? 0
  }
  const all = Array.from({ length: total }, (_, n) => n)
  const sendAll = async (order: number[], event: (n: number) => object): Promise<void> => {
    for (let from = 0; from < total; from += atOnce) {
      const answer = await publish(url, { events: order.slice(from, from + atOnce).map(event) })
      expect(answer.status).toBe(200)
    }
  }
  await sendAll(all, (n) => ({ topic: 'parks/all', key: `k${n}`, data: { on: `parked/${n}` } }))
  await eventually('all are parked', async () => (await count('waiting')) === total, { deadlineMs: 300_000 })
  const memory = Object.fromEntries(
    [...platform.orchestrators, ...platform.triggerServices, platform.gateway].map(({ process }) => [
      process.name,
      residentMib(process.pid),
    ]),
  )
  process.stdout.write(`resident MiB with ${total} parked waits: ${JSON.stringify(memory)}\n`)

  const shuffled = all.map((n) => ({ n, at: Math.random() })).toSorted((a, b) => a.at - b.at)
  const answering = sendAll(
    shuffled.map(({ n }) => n),
    (n) => ({ topic: `parked/${n}`, data: { answer: n } }),
  )
  await eventually('some are answered', async () => (await count('completed')) > 500)
  await platform.orchestrators[1]!.process.kill('SIGKILL')
  await answering
  await eventually('all completed', async () => (await count('completed')) === total, { deadlineMs: 400_000 })
  const { rows } = await store.general.query<{ right: number; waits: number }>(
    `select count(*) filter (where r.output::jsonb ->> 'on' = 'parked/' || (r.output::jsonb ->> 'answer'))::int as right,
       (select count(*)::int from waits where status = 'answered') as waits
     from runs r where r.workflow = 'parks'`,
  )
  expect(rows[0]).toEqual({ right: total, waits: total })
  await store.close()
})
