import { join } from 'node:path'
import {
  eventually,
  freePort,
  readTopic,
  startHeadrace,
  testFolder,
  type TestProcess,
} from '@headrace/testing'
import { expect, test } from 'vitest'
import { readJournal } from '../harness/journal.ts'
import { allEnded, publish, type PublishAnswer } from '../harness/platform.ts'

/** Everything at once: Kafka, Postgres, the apps and the worker die in mid-load, and the next start goes on. */
test('the whole of headrace dev killed with -9 under load: nothing lost, nothing twice', async () => {
  const dataDir = await testFolder('dev')
  const journal = join(await testFolder('journal'), 'bodies.jsonl')
  const port = await eventually('a port for dev', async () => {
    const free = await freePort()
    return free < 60_000 ? free : null
  })
  const url = `http://127.0.0.1:${port}`
  const start = async (): Promise<TestProcess> => {
    const dev = await startHeadrace(
      ['dev', '--port', String(port), '--data-dir', dataDir, '--worker', 'tests/harness/worker.ts'],
      {
        HEADRACE_TEST_WORKFLOWS: 'three_steps',
        HEADRACE_TEST_JOURNAL: journal,
      },
    )
    await dev.waitForLine(/^ {2}-d '/, { deadlineMs: 240_000 })
    return dev
  }

  let dev = await start()
  const accepted: PublishAnswer[] = []
  let sent = 0
  const rounds = 3
  for (let round = 0; round < rounds; round += 1) {
    // Eight publishers that stop at the first refused connection.
    const publishers = Array.from({ length: 8 }, async () => {
      for (;;) {
        sent += 1
        const events = Array.from({ length: 10 }, (_, n) => ({ topic: `load/${n}`, data: { sent, n } }))
        const answer = await publish(url, { events }).catch(() => null)
        if (answer === null) return
        if (answer.status === 200) accepted.push(answer)
      }
    })
    const bodies = readJournal(journal).length
    const answers = accepted.length
    await eventually(
      'there is load at every place',
      () => readJournal(journal).length > bodies + 100 && accepted.length > answers + 20,
    )
    await dev.killTree()
    await Promise.all(publishers)
    dev = await start()
  }

  const places = accepted.flatMap((answer) =>
    (answer.body.events ?? []).map((event) => `${event.partition}/${event.sequence_id}`),
  )
  expect(new Set(places).size).toBe(places.length)
  const brokers =
    /Kafka +(\S+)/.exec(dev.stdout.find((line) => line.startsWith('  Kafka')) ?? '')?.[1]?.split(',') ?? []
  const records = await readTopic(brokers, 'headrace.events.load')
  const logged = new Set(records.map((record) => `${record.partition}/${record.offset}`))
  for (const place of places) expect(logged.has(place)).toBe(true)

  const runs = await allEnded(url, 'three_steps', records.length)
  expect(runs).toHaveLength(records.length)
  expect(new Set(runs.map((run) => `${run.trigger?.partition}/${run.trigger?.first_sequence_id}`))).toEqual(
    logged,
  )
  expect(new Set(runs.map((run) => run.status))).toEqual(new Set(['completed']))
  expect(readJournal(journal).filter((entry) => entry.what === 'rerun')).toEqual([])
  expect((await dev.kill('SIGTERM')).code).toBe(0)
})
