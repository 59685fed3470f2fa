import { type Clock, silentLogger, systemClock } from '@headrace/service'
import { describe, expect, test } from 'vitest'
import { createRunWatch } from './run-watch.ts'

const hour = 3_600_000
const never = new AbortController().signal

function watch(endedOf: (ids: string[]) => Promise<string[]> = async () => await Promise.resolve([])) {
  const asked: string[][] = []
  const runs = createRunWatch({
    endedOf: async (ids) => {
      asked.push(ids)
      return await endedOf(ids)
    },
    log: silentLogger,
    clock: systemClock,
  })
  return { runs, asked }
}

describe('a caller that waits for a run', () => {
  test('is woken by an end that went through this instance', async () => {
    const { runs } = watch()
    const waiting = [runs.untilEnded('a', hour, never), runs.untilEnded('a', hour, never)]
    const other = new AbortController()
    const still = runs.untilEnded('b', hour, other.signal)
    runs.ended(['a'])
    await expect(Promise.all(waiting)).resolves.toHaveLength(2)
    other.abort()
    await still
    await runs.stop()
  })

  test('is woken by an end elsewhere, with one question for all who wait', async () => {
    const ends = new Set<string>()
    const { runs, asked } = watch(async (ids) => await Promise.resolve(ids.filter((id) => ends.has(id))))
    const waiting = [
      runs.untilEnded('a', hour, never),
      runs.untilEnded('a', hour, never),
      runs.untilEnded('b', hour, never),
    ]
    ends.add('a').add('b')
    runs.start()
    await Promise.all(waiting)
    expect(asked[0]).toEqual(['a', 'b'])
    await runs.stop()
  })

  test('gets its answer when the time is over, and when it is gone', async () => {
    const { runs } = watch()
    await runs.untilEnded('a', 1, never)
    const gone = new AbortController()
    const waiting = runs.untilEnded('a', hour, gone.signal)
    gone.abort()
    await expect(waiting).resolves.toBeUndefined()
    await runs.stop()
  })

  test('gets its answer when the instance stops, and nobody waits after that', async () => {
    const { runs } = watch()
    const waiting = runs.untilEnded('a', hour, never)
    await runs.stop()
    await expect(waiting).resolves.toBeUndefined()
    await expect(runs.untilEnded('a', hour, never)).resolves.toBeUndefined()
  })

  test('is waited for no longer than the limit', async () => {
    const slept: number[] = []
    const clock: Clock = {
      ...systemClock,
      sleep: async (ms) => {
        slept.push(ms)
        await Promise.resolve()
      },
    }
    const runs = createRunWatch({ endedOf: async () => await Promise.resolve([]), log: silentLogger, clock })
    await runs.untilEnded('a', hour, never)
    expect(slept).toEqual([60_000])
    await runs.stop()
  })
})
