import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type EventPlace, firstOf, lookAbove, mayAnswer, type WaitTerms } from './wait-candidate.ts'

const place = (sequenceId: number, changes: Partial<EventPlace> = {}): EventPlace => ({
  incarnation: 1,
  partition: 0,
  sequenceId,
  logTimeMs: 1_000,
  ...changes,
})
const terms = (changes: Partial<WaitTerms> = {}): WaitTerms => ({
  topic: 'a/b',
  sinceMs: 1_000,
  never: null,
  received: [],
  ...changes,
})

describe('what may answer', () => {
  const window = { incarnation: 1, partition: 0, from: 5, to: 7 }
  const cases: [string, WaitTerms, EventPlace, boolean][] = [
    ['W1: at its since', terms(), place(0), true],
    ['W1: before it', terms(), place(0, { logTimeMs: 999 }), false],
    ['W2: before the window', terms({ never: window }), place(4), true],
    ['W2: the first of the window', terms({ never: window }), place(5), false],
    ['W2: the last of the window', terms({ never: window }), place(7), false],
    ['W2: after the window', terms({ never: window }), place(8), true],
    ['W2: on another partition', terms({ never: window }), place(6, { partition: 1 }), true],
    ['W2: of another incarnation', terms({ never: window }), place(6, { incarnation: 2 }), true],
    [
      'W3: the one received',
      terms({ received: [{ incarnation: 1, partition: 0, offset: 3 }] }),
      place(3),
      false,
    ],
    ['W3: the next', terms({ received: [{ incarnation: 1, partition: 0, offset: 3 }] }), place(4), true],
    [
      'W3: on another partition',
      terms({ received: [{ incarnation: 1, partition: 1, offset: 3 }] }),
      place(1),
      true,
    ],
  ]
  test.each(cases)('%s', (_, wait, event, expected) => {
    expect(mayAnswer(wait, event)).toBe(expected)
  })

  test('a wait since its run began looks only above its window, and above what it received there', () => {
    const never = { incarnation: 1, partition: 0, from: 0, to: 7 }
    const received = [{ incarnation: 1, partition: 0, offset: 9 }]
    expect(lookAbove(terms({ never }), place(0))).toBe(7)
    expect(lookAbove(terms({ never, received }), place(0))).toBe(9)
    expect(lookAbove(terms({ never }), place(0, { partition: 1 }))).toBe(-1)
  })
})

describe('which one answers', () => {
  test('W4: the lowest offset of a partition, though another has an earlier time', () => {
    const early = place(5, { logTimeMs: 1_000 })
    const low = place(4, { logTimeMs: 2_000 })
    expect(firstOf([early, low])).toBe(low)
  })

  test('W4: between partitions the earliest head', () => {
    const hidden = place(6, { partition: 0, logTimeMs: 1_000 })
    const head = place(5, { partition: 0, logTimeMs: 3_000 })
    const other = place(99, { partition: 1, logTimeMs: 2_000 })
    expect(firstOf([hidden, head, other])).toBe(other)
    expect(firstOf([])).toBeNull()
  })

  test('taken one after the other, all come, each partition in its order, whatever order they are read in', () => {
    const events = fc.uniqueArray(
      fc.record({
        incarnation: fc.integer({ min: 1, max: 2 }),
        partition: fc.nat(2),
        sequenceId: fc.nat(30),
        logTimeMs: fc.nat(5),
      }),
      { selector: (event) => `${event.incarnation}/${event.partition}/${event.sequenceId}` },
    )
    fc.assert(
      fc.property(events, (all) => {
        const received: { incarnation: number; partition: number; offset: number }[] = []
        const taken: EventPlace[] = []
        for (;;) {
          const next = firstOf(all.filter((event) => mayAnswer(terms({ sinceMs: 0, received }), event)))
          if (!next) break
          const last = received.find(
            ({ incarnation, partition }) => incarnation === next.incarnation && partition === next.partition,
          )
          expect(next.sequenceId).toBeGreaterThan(last?.offset ?? -1)
          if (last) last.offset = next.sequenceId
          else received.push({ ...next, offset: next.sequenceId })
          taken.push(next)
        }
        expect(new Set(taken)).toEqual(new Set(all))
      }),
    )
  })
})
