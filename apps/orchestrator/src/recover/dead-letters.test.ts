import type { OutgoingRecord, ProduceOutcome } from '@headrace/broker'
import { createLogger, silentLogger, systemClock } from '@headrace/service'
import { expect, test } from 'vitest'
import { createDeadLetters, type DeadLetter } from './dead-letters.ts'

const letter = (runId: string): DeadLetter => ({
  reason: 'worker_lost',
  detail: 'five workers',
  runId,
  source: { stream: 'orders', partition: 2, offset: 7 },
  triggerId: 't',
  payload: '{"events":[]}',
})

test('a dead letter that Kafka did not take is written again until it did', async () => {
  const sent: OutgoingRecord[] = []
  const outcomes: ProduceOutcome[] = [{ status: 'unknown', code: 'timeout', message: 'no answer' }]
  const written: string[] = []
  const { promise: firstSent, resolve: tellFirstSent } = Promise.withResolvers<void>()
  const letters = createDeadLetters({
    prefix: 'test',
    log: silentLogger,
    clock: systemClock,
    written: (reason) => written.push(reason),
    producer: {
      produce: async (records) => {
        sent.push(...records)
        await Promise.resolve()
        tellFirstSent()
        return records.map(
          () => outcomes.shift() ?? { status: 'written', partition: 0, offset: 0, timestamp: 0 },
        )
      },
    },
  })
  letters.add([letter('a')])
  letters.start()
  await firstSent
  await letters.stop()
  expect(sent).toHaveLength(2)
  expect(written).toEqual(['worker_lost'])
  expect(sent[1]).toMatchObject({
    topic: 'test.dead-letters',
    key: 'orders/2',
    headers: {
      reason: 'worker_lost',
      stream: 'orders',
      partition: '2',
      offset: '7',
      trigger_id: 't',
      run_id: 'a',
    },
  })
})

test('a dead letter that Kafka has not taken when the process ends is told in the log', async () => {
  const lines: string[] = []
  const letters = createDeadLetters({
    prefix: 'test',
    log: createLogger({ name: 'test', level: 'error', stream: { write: (line) => void lines.push(line) } }),
    clock: systemClock,
    written: () => undefined,
    producer: {
      produce: async (records) =>
        await Promise.resolve(
          records.map((): ProduceOutcome => ({ status: 'unknown', code: 'timeout', message: 'no answer' })),
        ),
    },
  })
  letters.add([letter('a')])
  await letters.stop()
  expect(lines.map((line): unknown => JSON.parse(line))).toMatchObject([
    { event: 'dead_letter.dropped', run_id: 'a', reason: 'worker_lost' },
  ])
})

test('a payload that is too large is cut, and says so', async () => {
  const sent: OutgoingRecord[] = []
  const letters = createDeadLetters({
    prefix: 'test',
    log: silentLogger,
    clock: systemClock,
    written: () => undefined,
    producer: {
      produce: async (records) => {
        sent.push(...records)
        return await Promise.resolve([])
      },
    },
  })
  letters.add([{ ...letter('a'), source: null, payload: 'x'.repeat(3_000_000) }])
  await letters.stop()
  expect(sent[0]).toMatchObject({ key: 'run/a', headers: { truncated: 'true' } })
  expect(sent[0]!.value).toHaveLength(1_000_000)
})
