import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { OutgoingRecord } from '../records.ts'
import { createCoalescingProducer } from './coalescing-producer.ts'
import { PARTITION_RECORDS_MAX, RECORD_BYTES_MAX, REQUEST_BYTES_MAX, recordBytes } from './produce-outcome.ts'
import { type Fault, SimulatedKafka } from './simulated-kafka.fixture.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

function record(value: string, partition: number | null = 0, topic = 't'): OutgoingRecord {
  return { topic, partition, key: null, value, headers: {} }
}

function start(kafka: SimulatedKafka, onProducerRecreated: (reason: string) => void = () => {}) {
  return createCoalescingProducer({ sender: kafka, logger, onProducerRecreated })
}

/** Lets every promise that can settle do so, without any time passing. */
const settle = async () => await vi.advanceTimersByTimeAsync(0)

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

describe('the coalescing producer', () => {
  it('tells each record its own partition, offset and time', async () => {
    const kafka = new SimulatedKafka({ t: [1, 1] })
    const producer = start(kafka)
    const first = producer.produce([record('a'), record('b', 1), record('c')])
    await settle()
    expect(await first).toEqual([
      { status: 'written', partition: 0, offset: 0, timestamp: 1_000 },
      { status: 'written', partition: 1, offset: 0, timestamp: 1_000 },
      { status: 'written', partition: 0, offset: 1, timestamp: 1_000 },
    ])
  })

  it('sends what gathers while a request is under way as one request', async () => {
    const kafka = new SimulatedKafka({ t: [1] })
    kafka.holding = true
    const producer = start(kafka)
    const calls = [producer.produce([record('a')])]
    await settle()
    calls.push(...['b', 'c', 'd'].map(async (value) => await producer.produce([record(value)])))
    await settle()
    expect(kafka.sends).toHaveLength(1)
    kafka.holding = false
    kafka.held[0]!.release()
    await settle()
    expect(kafka.sends.map(({ batches }) => batches[0]!.records.map(({ value }) => value))).toEqual([
      ['a'],
      ['b', 'c', 'd'],
    ])
    expect((await Promise.all(calls)).flat().map((one) => one.status)).toEqual(Array(4).fill('written'))
  })

  it('keeps one request out for each leader, and no leader waits for another', async () => {
    const kafka = new SimulatedKafka({ t: [1, 2] })
    kafka.holding = true
    const producer = start(kafka)
    const slow = producer.produce([record('a', 0)])
    const fast = producer.produce([record('b', 1)])
    await settle()
    expect(kafka.sends.map(({ leader }) => leader)).toEqual([1, 2])
    kafka.held[1]!.release()
    await settle()
    expect((await fast)[0]).toMatchObject({ status: 'written' })
    kafka.held[0]!.release()
    await settle()
    await slow
  })

  it('puts at most 1,000 records of a partition and 900 KB into a request', async () => {
    const kafka = new SimulatedKafka({ t: [1, 1] })
    const producer = start(kafka)
    const many = Array.from({ length: 2_500 }, (_, index) => record(String(index)))
    const large = Array.from({ length: 10 }, (_, index) => record(`${index}`.padEnd(200_000, 'x'), 1))
    const outcomes = producer.produce([...many, ...large])
    await settle()
    expect((await outcomes).every(({ status }) => status === 'written')).toBe(true)
    for (const { batches } of kafka.sends) {
      const bytes = batches.flatMap(({ records }) => records).reduce((sum, one) => sum + recordBytes(one), 0)
      expect(bytes).toBeLessThanOrEqual(REQUEST_BYTES_MAX)
      for (const { records } of batches) expect(records.length).toBeLessThanOrEqual(PARTITION_RECORDS_MAX)
    }
    expect(kafka.log('t/0')).toEqual(many.map(({ value }) => value))
  })

  it('sends a record larger than a request alone, and refuses one that Kafka cannot take, with all behind it', async () => {
    const kafka = new SimulatedKafka({ t: [1, 1] })
    const producer = start(kafka)
    const outcomes = producer.produce([
      record('x'.repeat(REQUEST_BYTES_MAX + 1)),
      record('x'.repeat(RECORD_BYTES_MAX)),
      record('behind'),
      record('elsewhere', 1),
    ])
    await settle()
    expect(await outcomes).toMatchObject([
      { status: 'written' },
      { status: 'refused', code: 'record_too_large', retryable: false },
      { status: 'refused', code: 'not_attempted' },
      { status: 'written' },
    ])
  })

  it('chooses the partition by the key, and takes turns without one', async () => {
    const kafka = new SimulatedKafka({ t: [1, 1, 1] })
    const producer = start(kafka)
    const keyed = { ...record('v', null), key: '21' }
    const outcomes = producer.produce([keyed, record('1', null), record('2', null), record('3', null)])
    await settle()
    const partitions = (await outcomes).map((one) => (one.status === 'written' ? one.partition : -1))
    expect(partitions[0]).toBe((-973932308 & 0x7fffffff) % 3)
    expect(new Set(partitions.slice(1)).size).toBe(3)
  })

  it('keeps the results of the other partitions when one has an error', async () => {
    const kafka = new SimulatedKafka({ t: [1, 1] })
    kafka.nextFault = ({ partition }) => (partition === 0 ? 'too_large' : 'fine')
    const producer = start(kafka)
    const outcomes = producer.produce([record('a', 0), record('b', 1)])
    await settle()
    expect(await outcomes).toMatchObject([
      { status: 'refused', code: 'message_too_large' },
      { status: 'written' },
    ])
    expect(kafka.sends).toHaveLength(1)
  })

  it('does not attempt later records of a call on a partition where an earlier one failed, but those of others', async () => {
    const kafka = new SimulatedKafka({ t: [1] })
    let first = true
    kafka.nextFault = () => {
      const fault: Fault = first ? 'too_large' : 'fine'
      first = false
      return fault
    }
    const producer = start(kafka)
    const long = producer.produce(Array.from({ length: PARTITION_RECORDS_MAX + 2 }, () => record('long')))
    const other = producer.produce([record('other')])
    await settle()
    const codes = (await long).map((one) => (one.status === 'refused' ? one.code : one.status))
    expect(codes.slice(0, PARTITION_RECORDS_MAX)).toEqual(
      Array(PARTITION_RECORDS_MAX).fill('message_too_large'),
    )
    expect(codes.slice(PARTITION_RECORDS_MAX)).toEqual(['not_attempted', 'not_attempted'])
    expect((await other)[0]).toMatchObject({ status: 'written', offset: 0 })
  })

  it.each<Fault>([
    'answer_lost',
    'request_lost',
    'moved_after_append',
    'moved',
    'left_out',
    'not_sent',
    'not_enough_replicas',
  ])('after %s sends the same batch again and finds its offsets, written once', async (fault) => {
    const kafka = new SimulatedKafka({ t: [1] })
    const faults: Fault[] = [fault, fault]
    kafka.nextFault = () => faults.shift() ?? 'fine'
    const recreated = vi.fn<(reason: string) => void>()
    const producer = start(kafka, recreated)
    const outcomes = producer.produce([record('a'), record('b')])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await outcomes).toMatchObject([
      { status: 'written', offset: 0 },
      { status: 'written', offset: 1 },
    ])
    expect(kafka.log('t/0')).toEqual(['a', 'b'])
    expect(recreated).not.toHaveBeenCalled()
  })

  it('answers unknown at the deadline where an attempt may have been written, and goes on under a new identity', async () => {
    const kafka = new SimulatedKafka({ t: [1] })
    kafka.nextFault = () => 'answer_lost'
    const recreated = vi.fn<(reason: string) => void>()
    const producer = start(kafka, recreated)
    const outcomes = producer.produce([record('a')])
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await outcomes).toMatchObject([{ status: 'unknown', code: 'kafka_no_answer' }])
    expect(recreated).toHaveBeenCalledOnce()
    kafka.nextFault = () => 'fine'
    const next = producer.produce([record('b')])
    await vi.advanceTimersByTimeAsync(200)
    expect(await next).toMatchObject([{ status: 'written', offset: 1 }])
    expect(kafka.identities).toBe(2)
  })

  it('answers refused at the deadline where nothing was ever sent', async () => {
    const kafka = new SimulatedKafka({ t: [1] })
    kafka.nextFault = () => 'not_sent'
    const producer = start(kafka)
    const outcomes = producer.produce([record('a')], { deadlineMs: 700 })
    await vi.advanceTimersByTimeAsync(700)
    expect(await outcomes).toMatchObject([{ status: 'refused', code: 'kafka_unreachable', retryable: true }])
    expect(producer.inFlight).toEqual({ records: 0, bytes: 0 })
  })

  it('cuts off a leader that does not answer, so that its other partitions are served', async () => {
    const kafka = new SimulatedKafka({ t: [1, 1] })
    kafka.holding = true
    const producer = start(kafka)
    const stuck = producer.produce([record('a', 0)], { deadlineMs: 1_000 })
    await settle()
    const behind = producer.produce([record('b', 1)])
    kafka.holding = false
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await stuck).toMatchObject([{ status: 'unknown' }])
    await vi.advanceTimersByTimeAsync(200)
    expect(await behind).toMatchObject([{ status: 'written' }])
  })

  it('lets nobody else wait for a partition without a leader', async () => {
    const kafka = new SimulatedKafka({ t: [null, 1] })
    const producer = start(kafka)
    const waiting = producer.produce([record('a', 0)])
    const other = producer.produce([record('b', 1)])
    await settle()
    expect(await other).toMatchObject([{ status: 'written' }])
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await waiting).toMatchObject([{ status: 'refused', code: 'leader_not_available' }])
  })

  it('writes as soon as a leader is elected', async () => {
    const kafka = new SimulatedKafka({ t: [null] })
    const producer = start(kafka)
    const waiting = producer.produce([record('a')])
    await vi.advanceTimersByTimeAsync(1_000)
    kafka.views.set('t', { status: 'known', leaders: [3], replicas: 1 })
    await vi.advanceTimersByTimeAsync(500)
    expect(await waiting).toMatchObject([{ status: 'written' }])
    expect(kafka.sends[0]!.leader).toBe(3)
  })

  it('refuses an unknown topic or partition at once, and writes the others', async () => {
    const kafka = new SimulatedKafka({ t: [1] })
    const producer = start(kafka)
    const outcomes = producer.produce([record('a', 0, 'nope'), record('b', 9), record('c')])
    await settle()
    expect(await outcomes).toMatchObject([
      { status: 'refused', code: 'unknown_topic', retryable: false },
      { status: 'refused', code: 'unknown_partition', retryable: false },
      { status: 'written' },
    ])
  })

  it('answers within the deadline when not even the topics can be asked about', async () => {
    const kafka = new SimulatedKafka({})
    kafka.leaders = async () => await Promise.reject(new Error('nobody there'))
    const producer = start(kafka)
    const outcomes = producer.produce([record('a')])
    await vi.advanceTimersByTimeAsync(5_000)
    expect((await outcomes)[0]!.status).toBe('refused')
  })

  it('counts what is in flight, answers all before it closes, and takes nothing after', async () => {
    const kafka = new SimulatedKafka({ t: [1] })
    kafka.holding = true
    const producer = start(kafka)
    const outcomes = producer.produce([record('a'), record('b')])
    await settle()
    expect(producer.inFlight.records).toBe(2)
    const closing = producer.close()
    kafka.held[0]!.release()
    await settle()
    await closing
    expect((await outcomes).map(({ status }) => status)).toEqual(['written', 'written'])
    expect(producer.inFlight).toEqual({ records: 0, bytes: 0 })
    expect(await producer.produce([record('c')])).toMatchObject([
      { status: 'refused', code: 'producer_closed' },
    ])
  })

  it('tells the truth under any sequence of faults: what it calls written is there once, what it calls refused is not', async () => {
    const faultArbitrary = fc.constantFrom<Fault>(
      'fine',
      'fine',
      'not_sent',
      'answer_lost',
      'request_lost',
      'moved_after_append',
      'moved',
      'left_out',
      'not_enough_replicas',
      'too_large',
    )
    const callArbitrary = fc.record({
      afterMs: fc.nat(400),
      deadlineMs: fc.constantFrom(300, 1_000, 5_000),
      partitions: fc.array(fc.nat(2), { minLength: 1, maxLength: 6 }),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(callArbitrary, { minLength: 1, maxLength: 12 }),
        fc.array(faultArbitrary, { maxLength: 60 }),
        async (calls, faults) => {
          const kafka = new SimulatedKafka({ t: [1, 2, 1] })
          const left = [...faults]
          kafka.nextFault = () => left.shift() ?? 'fine'
          const producer = start(kafka)
          const answers = []
          for (const [callIndex, { afterMs, deadlineMs, partitions }] of calls.entries()) {
            await vi.advanceTimersByTimeAsync(afterMs)
            const records = partitions.map((partition, index) => record(`${callIndex}.${index}`, partition))
            answers.push({ records, outcomes: producer.produce(records, { deadlineMs }) })
          }
          await vi.advanceTimersByTimeAsync(6_000)
          for (const { records, outcomes } of answers) {
            const told = await outcomes
            for (const [index, { partition, value }] of records.entries()) {
              const log = kafka.log(`t/${partition}`)
              const copies = log.filter((one) => one === value).length
              const outcome = told[index]!
              expect(outcome.status === 'written' ? log[outcome.offset] : value).toBe(value)
              expect({ unknown: [0, 1], written: [1], refused: [0] }[outcome.status]).toContain(copies)
            }
            for (const partition of [0, 1, 2]) {
              const mine = new Set(
                records.filter((one) => one.partition === partition).map(({ value }) => value),
              )
              const inLog = kafka.log(`t/${partition}`).filter((value) => mine.has(value))
              expect(inLog).toEqual([...mine].slice(0, inLog.length))
            }
          }
          expect(producer.inFlight).toEqual({ records: 0, bytes: 0 })
        },
      ),
      { numRuns: 300 },
    )
  })
})
