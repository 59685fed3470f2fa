import { kafkaAnswers } from '@headrace/local'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import { Client } from 'pg'
import { expect, test } from 'vitest'
import {
  createDatabase,
  eventually,
  infra,
  isRefused,
  readTopic,
  startOwnKafka,
  startOwnPostgres,
  startProcess,
} from './index.ts'

test('a Kafka of the test’s own is refused once killed; started again it answers on the same port, with every record', async () => {
  const kafka = await startOwnKafka()
  const client = new Kafka({ brokers: kafka.brokers, logLevel: logLevel.NOTHING })
  const [admin, producer] = [
    client.admin(),
    client.producer({ createPartitioner: Partitioners.DefaultPartitioner }),
  ]
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'kept', numPartitions: 2 }] })
  await producer.connect()
  await producer.send({
    topic: 'kept',
    messages: [0, 1, 2].map((n) => ({
      partition: n % 2,
      key: `k${n}`,
      value: `v${n}`,
      headers: { n: String(n) },
    })),
  })
  await Promise.all([admin.disconnect(), producer.disconnect()])

  await kafka.kill()
  await kafka.refused()
  await kafka.start()
  expect(await kafkaAnswers(kafka.port)).toBe(true)
  const records = await readTopic(kafka.brokers, 'kept')
  expect(
    records.map(({ partition, offset, key, value, headers }) => [
      partition,
      offset,
      key,
      value,
      headers['n'],
    ]),
  ).toEqual([
    [0, 0, 'k0', 'v0', '0'],
    [0, 1, 'k2', 'v2', '2'],
    [1, 0, 'k1', 'v1', '1'],
  ])
})

test('a Postgres of the test’s own is refused once killed; started again it accepts on the same port, with every row', async () => {
  const postgres = await startOwnPostgres()
  await query(postgres.url, 'create table kept as select generate_series(1, 10) as n')
  await postgres.kill()
  await postgres.refused()
  await postgres.start()
  expect(await isRefused(postgres.port)).toBe(false)
  expect(await query(postgres.url, 'select count(*)::int as rows from kept')).toEqual([{ rows: 10 }])
})

test('databases of one file are migrated and apart, and there is room for many connections', async () => {
  const [a, b] = await Promise.all([createDatabase(), createDatabase()])
  await query(a.url, 'create table mine ()')
  expect(
    await query(b.url, `select to_regclass('mine') as mine, to_regclass('runs') is not null as migrated`),
  ).toEqual([{ mine: null, migrated: true }])
  expect(await query(a.url, 'show max_connections')).toEqual([{ max_connections: '300' }])
})

test('killing a process’s tree ends what it started, in other process groups too', async () => {
  const program = `
    const child = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true })
    console.log('child ' + child.pid)
    setInterval(() => {}, 1000)`
  const parent = await startProcess({ name: 'parent', args: ['-e', program] })
  const child = Number((await parent.waitForLine('child')).split(' ')[1])
  await parent.killTree()
  await eventually('the child is gone', () => !runs(child))
})

test('a process’s line is found whether it was said before or after asking', async () => {
  const { brokers } = await infra()
  const child = await startProcess({
    name: 'talker',
    args: ['-e', 'console.log(process.env.BROKERS); setTimeout(() => console.error("later"), 50)'],
    env: { BROKERS: brokers.join(',') },
  })
  expect(await child.waitForLine(/^127/)).toBe(brokers.join(','))
  await child.waitForLine('later')
  expect(await child.exit).toEqual({ code: 0, signal: null })
  await expect(child.waitForLine('never')).rejects.toThrow(/ended before a line/)
})

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
