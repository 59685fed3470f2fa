import type { WireEvent } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { type Known, outcomesOf } from './outcome.ts'

const event: WireEvent = {
  id: 'e',
  source: 's',
  topic: 'orders/created',
  event_type: null,
  data: { total: 5 },
  key: null,
  stream: 'orders',
  partition: 0,
  sequence_id: 50,
  created_at: '2026-11-23T12:00:00.000Z',
}
const cursor: NonNullable<Known['cursor']> = {
  nextOffset: 100,
  done: '{}',
  lastOffset: 99,
  status: 'live',
  reason: null,
}
const known: Known = {
  trigger: { id: 't', pattern: 'orders/*', filter: null },
  cursor,
  sequenceId: 50,
  event,
  runIds: [],
  repeatOf: null,
  letter: null,
}
const behind = { ...cursor, nextOffset: 40 }
const letter = { id: '0.4', reason: 'filter_error', detail: 'no number' }
const repeatOf = { incarnation: 1, partition: 2, sequenceId: 7 }
const withFilter = (filter: string) => ({ trigger: { ...known.trigger, filter } })

describe('what a trigger made of an event', () => {
  test.each<[string, Partial<Known>, RegExp]>([
    ['no_match', { trigger: { ...known.trigger, pattern: 'orders/paid' } }, /orders\/paid/],
    ['filtered', withFilter('event.data.total > 9'), /total > 9/],
    ['filtered', { ...withFilter('event.data.sum > 9'), cursor: { ...behind, lastOffset: 60 } }, /./],
    ['before_cursor', withFilter('event.data.total < 9'), /retention/],
    ['repeat', { repeatOf }, /partition 2, sequence id 7/],
    ['dead_letter', { letter }, /^0\.4: filter_error: no number$/],
    ['dead_letter', { letter, event: null }, /^0\.4/],
    ['not_read_yet', { cursor: null }, /has not begun/],
    ['not_read_yet', { cursor: { ...behind, lastOffset: 39 } }, /is at 40$/],
    [
      'not_read_yet',
      { cursor: { ...behind, lastOffset: null, status: 'stopped', reason: 'gap' } },
      /stopped \(gap\)/,
    ],
    ['not_read_yet', { cursor: { ...behind, lastOffset: 39 }, ...withFilter('false') }, /is at 40/],
    ['open_window', { cursor: { ...behind, lastOffset: 50 } }, /more events/],
    ['before_cursor', { cursor: { ...behind, lastOffset: 60, done: '{[45,51)}' } }, /retention/],
    ['before_cursor', {}, /retention/],
  ])('%s: %j', (outcome, changes, detail) => {
    expect(outcomesOf({ ...known, ...changes })).toEqual([
      { trigger: 't', outcome, run_id: null, detail: expect.stringMatching(detail) },
    ])
  })

  test('is told by its runs, whatever else is known now', () => {
    const outcomes = outcomesOf({ ...known, runIds: ['a', 'b'], letter, repeatOf, cursor: null })
    expect(outcomes).toEqual([
      { trigger: 't', outcome: 'run', run_id: 'a', detail: null },
      { trigger: 't', outcome: 'run', run_id: 'b', detail: null },
    ])
  })
})
