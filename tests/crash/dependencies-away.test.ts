import { join } from 'node:path'
import { migrate } from '@headrace/store'
import {
  createDatabase,
  eventually,
  infra,
  isRefused,
  readTopic,
  startOwnKafka,
  startOwnPostgres,
  testFolder,
} from '@headrace/testing'
import { expect, test } from 'vitest'
import { readJournal } from '../harness/journal.ts'
import { allEnded, publish, type PublishAnswer, startPlatform, startWorker } from '../harness/platform.ts'

const placesOf = (answers: PublishAnswer[]): Set<string> =>
  new Set(
    answers.flatMap((answer) =>
      (answer.body.events ?? []).map((event) => `${event.partition}/${event.sequence_id}`),
    ),
  )

/** P9: publishing needs only Kafka. */
test('with Postgres away events are accepted, and each starts its run when it is back', async () => {
  const postgres = await startOwnPostgres()
  await migrate(postgres.url)
  const { brokers, prefix } = await infra()
  const platform = await startPlatform({ brokers, prefix, databaseUrl: postgres.url })
  const { url } = platform.gateway
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  await startWorker({ gatewayUrl: url, databaseUrl: postgres.url, journal, workflows: ['three_steps'] })

  await postgres.stop()
  await postgres.refused()
  const answers: PublishAnswer[] = []
  for (let n = 0; n < 20; n += 1) {
    answers.push(
      await publish(url, {
        events: Array.from({ length: 5 }, (_, m) => ({ topic: `load/${m}`, data: { n, m } })),
      }),
    )
  }
  expect(answers.map((answer) => answer.status)).toEqual(answers.map(() => 200))
  expect(await isRefused(postgres.port)).toBe(true)

  await postgres.start()
  const runs = await allEnded(url, 'three_steps', 100)
  const answered = placesOf(answers)
  expect(answered.size).toBe(100)
  const records = await readTopic(brokers, `${prefix}.events.load`)
  expect(new Set(records.map((record) => `${record.partition}/${record.offset}`))).toEqual(answered)
  expect(new Set(runs.map((run) => `${run.trigger?.partition}/${run.trigger?.first_sequence_id}`))).toEqual(
    answered,
  )
  expect(new Set(runs.map((run) => run.status))).toEqual(new Set(['completed']))
  expect(readJournal(journal).filter((entry) => entry.what === 'rerun')).toEqual([])
})

/** P1: anything that is not surely written is an error that the caller can retry. */
test('with Kafka away a publish is answered 503 with Retry-After, nothing hangs, and all goes on without a restart', async () => {
  const kafka = await startOwnKafka()
  const { url: databaseUrl } = await createDatabase()
  const prefix = 'headrace'
  const platform = await startPlatform({ brokers: kafka.brokers, prefix, databaseUrl })
  const { url } = platform.gateway
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  await startWorker({ gatewayUrl: url, databaseUrl, journal, workflows: ['three_steps'] })
  const before = await publish(url, { events: [{ topic: 'load/before', data: 1, id: 'before' }] })
  expect(before.status).toBe(200)

  // Killed with requests in flight: what was sent and not answered may be written.
  const inFlight: Promise<PublishAnswer>[] = []
  let sent = 0
  const burst = setInterval(() => {
    sent += 1
    inFlight.push(publish(url, { topic: `load/${sent % 5}`, data: { sent }, id: `burst-${sent}` }))
  }, 2)
  await eventually('some are in flight', () => sent > 100)
  await kafka.kill()
  await eventually('some more met the dead broker', () => sent > 300)
  clearInterval(burst)
  await kafka.refused()
  const away = await publish(url, { topic: 'load/away', data: 1, id: 'away' })
  expect(away).toMatchObject({ status: 503, retryAfter: expect.stringMatching(/^\d+$/) })
  const answers = await Promise.all(inFlight)
  for (const answer of answers) {
    expect([200, 503]).toContain(answer.status)
    expect(answer.status === 200 || /^\d+$/.test(answer.retryAfter ?? '')).toBe(true)
  }
  const codes = new Set(answers.filter((answer) => answer.status === 503).map((answer) => answer.body.code))
  for (const code of codes) expect(['unknown', 'kafka_unavailable', 'refused_by_kafka']).toContain(code)

  await kafka.start()
  const recovered = await eventually(
    'a publish is accepted again',
    async () => {
      const answer = await publish(url, { topic: 'load/recovered', data: 1, id: 'recovered' })
      return answer.status === 200 ? answer : null
    },
    { deadlineMs: 120_000 },
  )
  const records = await readTopic(kafka.brokers, `${prefix}.events.load`)
  const written = new Map(
    records.map((record) => [`${record.partition}/${record.offset}`, record.headers['ce_id']]),
  )
  // Accepted means kept: every answered place holds that very event.
  for (const answer of [before, recovered, ...answers]) {
    if (answer.status !== 200) continue
    for (const event of answer.body.events ?? [])
      expect(written.get(`${event.partition}/${event.sequence_id}`)).toBe(event.id)
  }
  const unanswered = records.filter((record) => record.headers['ce_id']?.startsWith('burst-')).length
  expect(unanswered).toBeGreaterThanOrEqual(answers.filter((answer) => answer.status === 200).length)
  // An event whose answer was `unknown` and that was written starts its run.
  const runs = await allEnded(
    url,
    'three_steps',
    new Set(records.map((record) => record.headers['ce_id'])).size,
  )
  expect(new Set(runs.map((run) => run.status))).toEqual(new Set(['completed']))
})
