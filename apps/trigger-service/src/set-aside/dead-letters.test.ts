import type { OutgoingRecord, ProduceOutcome } from '@headrace/broker'
import { createMetrics, silentLogger } from '@headrace/service'
import { describe, expect, it } from 'vitest'
import { createTriggerMetrics } from '../metrics.ts'
import { createDeadLetters, type DeadLetter } from './dead-letters.ts'

const letter: DeadLetter = {
  reason: 'not_an_event',
  detail: 'the headers are missing',
  stream: 'orders',
  partition: 3,
  offset: 41,
  triggerId: null,
  value: Buffer.from('raw'),
  headers: { color: 'red', reason: 'its own' },
}
const written: ProduceOutcome = { status: 'written', partition: 0, offset: 0, timestamp: 0 }
const unknown: ProduceOutcome = { status: 'unknown', code: 'kafka_no_answer', message: 'lost' }

function deadLetters(answers: ProduceOutcome[][]) {
  const sent: OutgoingRecord[][] = []
  const stopping = new AbortController()
  const put = createDeadLetters({
    producer: {
      produce: (records) => {
        sent.push([...records])
        return Promise.resolve(answers.shift() ?? records.map(() => written))
      },
    },
    prefix: 'p',
    metrics: createTriggerMetrics(createMetrics()),
    log: silentLogger,
    clock: {
      now: () => 0,
      sleep: (_ms, signal) => {
        signal.throwIfAborted()
        return Promise.resolve()
      },
      every: () => () => undefined,
    },
    kafkaTopicOf: (stream) => `p.events.${stream}`,
  })
  return { sent, stopping, put: async (letters: DeadLetter[]) => await put.put(letters, stopping.signal) }
}

describe('a dead letter', () => {
  it('says what it is about, with the raw bytes and the record’s own headers beneath ours', async () => {
    const { sent, put } = deadLetters([])
    await put([letter])
    expect(sent).toEqual([
      [
        {
          topic: 'p.dead-letters',
          partition: null,
          key: 'orders/3/41',
          value: Buffer.from('raw'),
          headers: {
            color: 'red',
            reason: 'not_an_event',
            detail: 'the headers are missing',
            stream: 'orders',
            kafka_topic: 'p.events.orders',
            partition: '3',
            offset: '41',
          },
        },
      ],
    ])
  })

  it('keeps what redriving it takes: a record’s key, a window’s incarnation, and no foreign header for one of ours', async () => {
    const { sent, put } = deadLetters([])
    const key = Buffer.from('customer')
    const window = { ...letter, triggerId: 't', incarnation: 2, headers: {} }
    await put([{ ...letter, key, headers: { trigger_id: 'foreign', color: 'red' } }, window])
    const [record, run] = sent.flat().map(({ headers }) => headers)
    expect(record).toMatchObject({ record_key: key, color: 'red' })
    expect(record).not.toHaveProperty('trigger_id')
    expect(run).toMatchObject({ trigger_id: 't', incarnation: '2' })
  })

  it('is written again until it is acked, and only those that were not', async () => {
    const { sent, put } = deadLetters([[written, unknown], [unknown], [written]])
    await put([letter, { ...letter, offset: 42 }])
    expect(sent.map((records) => records.map(({ key }) => key))).toEqual([
      ['orders/3/41', 'orders/3/42'],
      ['orders/3/42'],
      ['orders/3/42'],
    ])
  })

  it('is cut, and says so, when it is too large for its topic', async () => {
    const { sent, put } = deadLetters([])
    await put([{ ...letter, triggerId: 'each', value: 'x'.repeat(1_500_000) }])
    const record = sent[0]?.[0]
    expect(record?.value?.length).toBe(1_000_000)
    expect(record?.headers).toMatchObject({ truncated: '1', trigger_id: 'each' })
  })

  it('leaves out headers that are themselves too large', async () => {
    const { sent, put } = deadLetters([])
    await put([{ ...letter, headers: { big: 'x'.repeat(200_000) } }])
    expect(sent[0]?.[0]?.headers).not.toHaveProperty('big')
  })

  it('waits no longer than it is told to', async () => {
    const { stopping, put } = deadLetters([[unknown]])
    stopping.abort(new Error('stopped'))
    await expect(put([letter])).rejects.toThrow('stopped')
  })
})
