import { expect, test } from 'vitest'
import { movableClock } from './movable-clock.ts'

const never = new AbortController().signal

test('time stands still until it is moved', async () => {
  const clock = movableClock('2026-01-01T00:00:00.000Z')
  const before = clock.now()
  await clock.advance(5_000)
  expect(clock.now() - before).toBe(5_000)
})

test('what falls due happens in order, each at its own time', async () => {
  const clock = movableClock(0)
  const seen: [string, number][] = []
  const sleeper = async (name: string, ms: number): Promise<void> => {
    await clock.sleep(ms, never)
    seen.push([name, clock.now()])
  }
  const sleeping = [sleeper('b', 20), sleeper('a', 10), sleeper('c', 31)]
  await clock.advance(30)
  expect(seen).toEqual([
    ['a', 10],
    ['b', 20],
  ])
  await clock.advance(1)
  await Promise.all(sleeping)
  expect(seen.at(-1)).toEqual(['c', 31])
})

test('a sleep that follows another within one move is due in the same move', async () => {
  const clock = movableClock(0)
  let woken = 0
  const twice = (async () => {
    for (let i = 0; i < 2; i += 1) {
      await clock.sleep(10, never)
      woken = clock.now()
    }
  })()
  await clock.advance(20)
  await twice
  expect(woken).toBe(20)
})

test('an interval fires each time until it is stopped', async () => {
  const clock = movableClock(0)
  let fired = 0
  const stop = clock.every(10, () => {
    fired += 1
  })
  await clock.advance(35)
  stop()
  await clock.advance(100)
  expect(fired).toBe(3)
})

test('an aborted sleep rejects with the signal’s reason, and is forgotten', async () => {
  const clock = movableClock(0)
  const stop = new AbortController()
  const sleeping = clock.sleep(10, stop.signal)
  stop.abort(new Error('enough'))
  await expect(sleeping).rejects.toThrow('enough')
  expect(clock.pending).toBe(0)
})
