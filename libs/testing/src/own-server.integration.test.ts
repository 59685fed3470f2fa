import { expect, test } from 'vitest'
import { kafkaAnswers } from '@headrace/local'
import { createDatabase, infra, isRefused, startOwnKafka, startOwnPostgres, startProcess } from './index.ts'

test('a Kafka of the test’s own is refused once killed, and answers on the same port when started again', async () => {
  const kafka = await startOwnKafka()
  expect(await kafkaAnswers(kafka.port)).toBe(true)
  await kafka.kill()
  await kafka.refused()
  await kafka.start()
  expect(await kafkaAnswers(kafka.port)).toBe(true)
})

test('a Postgres of the test’s own is refused once killed, and accepts on the same port when started again', async () => {
  const postgres = await startOwnPostgres()
  await postgres.kill()
  await postgres.refused()
  await postgres.start()
  expect(await isRefused(postgres.port)).toBe(false)
})

test('two databases of one file are apart', async () => {
  const [a, b] = await Promise.all([createDatabase(), createDatabase()])
  expect(a.url).not.toBe(b.url)
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
