import { compileFilter, compileWindowKey, type WindowEvent, Windows } from '@headrace/core'
import type { Json } from '@headrace/schemas'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { trigger } from '../stage/harness.ts'
import { type Deed, ModelLog, type Published } from '../stage/model-log.ts'
import type { Trouble } from '../stage/postgres.ts'

const triggers = [
  trigger({ id: 'each' }),
  trigger({ id: 'threes', windowSize: 3, windowTimeoutMs: 100 }),
  trigger({ id: 'keyed', windowSize: 2, windowTimeoutMs: 1_000, windowKey: 'event.data.k' }),
  trigger({
    id: 'some',
    pattern: 'orders/*',
    windowSize: 2,
    windowTimeoutMs: 60,
    windowKey: 'event.key',
    filter: 'event.data.n > 2',
  }),
]

const data = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      k: fc.constantFrom<Json>('a', 'a', 'b', 'b', 'c', 'd', 'e', 1, null),
      n: fc.integer({ min: 0, max: 9 }),
    }),
  },
  // Without a key, without a number, and such that the key or the filter fails on it.
  { weight: 1, arbitrary: fc.constantFrom<Json>({ n: 5 }, { k: 'a' }, null) },
  { weight: 1, arbitrary: fc.constantFrom<Json>({ k: ['a'], n: 5 }, { k: 'b', n: 'many' }) },
)
const event = fc.record({
  topic: fc.constantFrom('orders/created', 'orders/created', 'orders/deleted'),
  key: fc.constantFrom(null, 'x', 'y'),
  id: fc.constantFrom(null, null, null, 'i1', 'i2', 'i3'),
  data,
})
const owner = fc.nat({ max: 1 })
const byOwner = <Name extends Extract<Deed, { owner: number; pick: number }>['do']>(...names: Name[]) =>
  fc.record({ do: fc.constantFrom(...names), owner, pick: fc.nat() })
const usual: fc.Arbitrary<Deed>[] = [
  fc.record({
    do: fc.constant('append' as const),
    events: fc.array(event, { minLength: 1, maxLength: 6 }),
    stepMs: fc.integer({ min: 0, max: 40 }),
  }),
  fc.record({
    do: fc.constant('fetch' as const),
    owner,
    at: fc.constant(null),
    offsets: fc.integer({ min: 1, max: 9 }),
  }),
  byOwner('adopt', 'flushed'),
]
const faults: fc.Arbitrary<Deed>[] = [
  fc.record({
    do: fc.constant('fetch' as const),
    owner,
    at: fc.nat({ max: 80 }),
    offsets: fc.integer({ min: 1, max: 9 }),
  }),
  fc.record({ do: fc.constant('abort' as const), offsets: fc.integer({ min: 1, max: 30 }) }),
  fc.record({ do: fc.constant('garbage' as const) }),
  fc.record({
    do: fc.constant('trouble' as const),
    trouble: fc.constantFrom<Trouble>('lost_before', 'lost_after', 'deadlock'),
  }),
  byOwner('progress', 'die', 'turn'),
]
const changes: fc.Arbitrary<Deed>[] = [
  byOwner('head', 'resize'),
  fc.record({ do: fc.constant('compact' as const), pick: fc.nat() }),
  fc.record({ do: fc.constant('retain' as const) }),
]

const scripts = (unusual: readonly fc.Arbitrary<Deed>[]): fc.Arbitrary<Deed[]> =>
  fc.array(
    fc.oneof({ weight: 4, arbitrary: fc.oneof(...usual) }, { weight: 1, arbitrary: fc.oneof(...unusual) }),
    { maxLength: 70, size: 'max' },
  )

/** What a trigger is to do with each event of the log as it stands, in its order. */
interface Fate extends WindowEvent {
  what: 'window' | 'refused' | 'passed'
  key: string | null
}

/** By the rules alone: the pattern, the first of each id, the filter, and the key. */
function fatesOf({ published, log }: ModelLog, id: string): Fate[] {
  const row = triggers.find((one) => one.id === id)
  const filter = typeof row?.filter === 'string' ? compileFilter(row.filter) : null
  const windowKey = typeof row?.windowKey === 'string' ? compileWindowKey(row.windowKey) : null
  const firsts = new Map<string, number>()
  for (const { id: eventId, offset } of published)
    if (eventId !== null && !firsts.has(eventId)) firsts.set(eventId, offset)
  const there = new Map(published.map((one) => [one.offset, one]))
  return log.records.map(({ offset, timestamp, value }) => {
    const one = there.get(offset)
    const fate = { offset, timestamp, bytes: value?.length ?? 0, key: null }
    if (one === undefined || (id !== 'some' && one.topic !== 'orders/created'))
      return { ...fate, what: 'passed' }
    if (one.id !== null && firsts.get(one.id) !== offset) return { ...fate, what: 'passed' }
    const answer = filter?.kind === 'ok' ? filter.ask(wireOf(one)) : null
    if (answer?.kind === 'failed') return { ...fate, what: 'refused' }
    if (answer !== null && answer.kind !== 'passes') return { ...fate, what: 'passed' }
    const key = windowKey?.kind === 'ok' ? windowKey.of(wireOf(one)) : null
    if (key?.kind === 'failed') return { ...fate, what: 'refused' }
    return { ...fate, what: 'window', key: key?.key ?? null }
  })
}

const wireOf = ({ topic, key, id, data: given, offset }: Published) => ({
  id: id ?? `e${offset}`,
  source: 'test',
  topic,
  event_type: null,
  data: given,
  key,
  stream: 'orders',
  partition: 0,
  sequence_id: offset,
  created_at: '',
})

/** The windows that the log alone gives, read once from its beginning to its end by one who never dies. */
function windowsOf(
  model: ModelLog,
  { id, windowSize: size, windowTimeoutMs: timeoutMs }: (typeof triggers)[number],
) {
  const windows = new Windows<Fate>(
    { size, timeoutMs, bytesMax: 1024 * 1024 },
    { nextOffset: 0, done: '{}', lastOffset: null },
  )
  const closed = fatesOf(model, id).flatMap((fate) => {
    if (fate.what === 'window') return windows.onEvent(fate, fate.key)
    if (fate.what === 'passed') return windows.onPassed(fate)
    const { before, after } = windows.onRefused(fate)
    return [...before, ...after]
  })
  const rest = windows.onHead({ position: model.log.high, nowMs: Number.MAX_SAFE_INTEGER })
  return [...closed, ...rest].map(({ events }) => events.map(({ offset }) => offset))
}

const inOrder = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b)
const byFirst = (windows: readonly number[][]): number[][] => [...windows].sort(([a = 0], [b = 0]) => a - b)

describe('two owners of a log, dying and fencing each other, with faults of Postgres', () => {
  it('store the very windows that the log alone gives, each once (W4)', async () => {
    await fc.assert(
      fc.asyncProperty(scripts(faults), async (deeds) => {
        const model = new ModelLog(triggers)
        for (const deed of deeds) await model.act(deed)
        await model.settle()
        for (const row of triggers) {
          expect([row.id, byFirst(model.windows(row.id))]).toEqual([row.id, byFirst(windowsOf(model, row))])
          const refused = fatesOf(model, row.id).filter(({ what }) => what === 'refused')
          expect(inOrder(model.refused(row.id))).toEqual(refused.map(({ offset }) => offset))
        }
        await model.end()
      }),
      { numRuns: 100 },
    )
  })

  it('have each event in one window, in order per key, through compaction, retention, other rules and the clock (P2)', async () => {
    await fc.assert(
      fc.asyncProperty(scripts([...faults, ...changes]), async (deeds) => {
        const model = new ModelLog(triggers)
        for (const deed of deeds) await model.act(deed)
        await model.settle()
        for (const { id } of triggers) {
          const fates = fatesOf(model, id).filter(({ what }) => what === 'window')
          const stored = model.windows(id).flat()
          // What was compacted may have been read before it went; what is there must have been.
          const there = new Set(model.log.records.map(({ offset }) => offset))
          expect([id, inOrder(stored.filter((offset) => there.has(offset)))]).toEqual([
            id,
            fates.map(({ offset }) => offset),
          ])
          expect(new Set(stored).size).toBe(stored.length)
          for (const key of new Set(fates.map((fate) => fate.key))) {
            const own = new Set(fates.filter((fate) => fate.key === key).map(({ offset }) => offset))
            const order = stored.filter((offset) => own.has(offset))
            expect([id, key, order]).toEqual([id, key, inOrder(order)])
          }
        }
        await model.end()
      }),
      { numRuns: 100 },
    )
  })
})
