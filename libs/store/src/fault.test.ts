import { describe, expect, test } from 'vitest'
import { urlWithSettings } from './connection.ts'
import { classify, type FaultKind, isolate, withRetries } from './fault.ts'

const failure = (code: string, more: object = {}): Error => Object.assign(new Error('no'), { code, ...more })

test.each<[FaultKind, unknown]>([
  ['row', failure('22021')],
  ['row', failure('22P02')],
  ['row', failure('23505', { constraint: 'runs_pkey' })],
  ['row', failure('23514', { constraint: 'runs_status' })],
  ['missing_partition', failure('23514')],
  ['retry', failure('40001')],
  ['retry', failure('40P01')],
  ['retry', failure('55P03')],
  ['outage', failure('57P01')],
  ['outage', failure('57014')],
  ['outage', failure('53300')],
  ['outage', failure('08006')],
  ['outage', failure('ECONNREFUSED')],
  ['outage', new AggregateError([failure('ECONNREFUSED'), failure('ECONNREFUSED')])],
  ['outage', new Error('Connection terminated unexpectedly')],
  ['outage', new Error('timeout exceeded when trying to connect')],
  ['outage', new Error('Query read timeout')],
  ['bug', failure('42P01')],
  ['bug', failure('42601')],
  ['bug', new TypeError('undefined is not a function')],
  ['bug', 'text'],
])('a fault is named %s', (kind, error) => {
  expect(classify(error)).toBe(kind)
})

describe('isolating a bad row', () => {
  const batchOf = (bad: number[]) => async (items: number[]) => {
    await Promise.resolve()
    if (items.some((item) => bad.includes(item))) throw failure('22021')
    return items.length
  }

  test('a good batch is one statement', async () => {
    expect(await isolate([1, 2, 3], batchOf([]))).toEqual({ ok: [{ items: [1, 2, 3], result: 3 }], bad: [] })
  })

  test('bad rows are lost alone, and the rest goes through in order', async () => {
    const items = Array.from({ length: 100 }, (_, i) => i)
    const { ok, bad } = await isolate(items, batchOf([0, 41, 42, 99]))
    expect(bad.map(({ item }) => item)).toEqual([0, 41, 42, 99])
    expect(ok.flatMap((part) => part.items)).toEqual(items.filter((item) => ![0, 41, 42, 99].includes(item)))
  })

  test.each(['57P01', '40001', '42601'])('SQLSTATE %s is nobody’s row: it is thrown', async (code) => {
    const work = isolate([1, 2], async () => await Promise.reject(failure(code)))
    await expect(work).rejects.toMatchObject({ code })
  })
})

describe('trying again', () => {
  test('a deadlock is tried again at once, and ends', async () => {
    let tries = 0
    const result = await withRetries(async () => {
      await Promise.resolve()
      tries += 1
      if (tries < 4) throw failure('40P01')
      return 'done'
    })
    expect([result, tries]).toEqual(['done', 4])
  })

  test('without end it is given up; aborted it is not tried again; another fault is thrown at once', async () => {
    let tries = 0
    const fail = (code: string) => async (): Promise<never> => {
      tries += 1
      return await Promise.reject(failure(code))
    }
    await expect(withRetries(fail('40P01'))).rejects.toThrow('no')
    expect(tries).toBe(11)
    await expect(withRetries(fail('40P01'), { signal: AbortSignal.abort() })).rejects.toThrow('no')
    await expect(withRetries(fail('22021'))).rejects.toThrow('no')
    expect(tries).toBe(13)
  })
})

test('settings join the options of a url, whose own come last and win', () => {
  const url = urlWithSettings('postgres://u:p@h:5/d?sslmode=require&options=-c%20jit%3Don', [
    'jit=off',
    'x=1',
  ])
  expect(new URL(url).searchParams.get('options')).toBe('-c jit=off -c x=1 -c jit=on')
  expect(new URL(url).searchParams.get('sslmode')).toBe('require')
})
