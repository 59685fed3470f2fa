import { silentLogger } from '@headrace/service'
import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import { createTimers } from './timers.ts'

/** Timers that Postgres would have: `due` are their times; the clock of Postgres is the test's own. */
function scene(...due: number[]) {
  const clock = movableClock()
  const startedAt = clock.now()
  const answered: number[] = []
  const looks: number[] = []
  const timers = createTimers({
    name: 'timers.answer',
    act: async (limit) => {
      looks.push(clock.now() - startedAt)
      due.sort((a, b) => a - b)
      const ready = due.filter((at) => startedAt + at <= clock.now()).slice(0, limit)
      due.splice(0, ready.length)
      const [next] = due
      answered.push(...ready.map(() => clock.now() - startedAt))
      return await Promise.resolve({
        done: ready.length,
        nextDueMs: next === undefined ? null : startedAt + next,
      })
    },
    serverClock: clock,
    log: silentLogger,
    clock,
  })
  const until = async (ms: number): Promise<void> => {
    while (clock.now() - startedAt < ms) await clock.advance(5)
  }
  return { timers, clock, due, answered, looks, startedAt, until }
}

test('what is due is answered at the first look, whoever knew of it', async () => {
  const { timers, answered, clock } = scene(-5_000, 0)
  timers.start()
  await clock.advance(0)
  expect(answered).toEqual([0, 0])
  await timers.stop()
})

test('a timer is answered when it is due, not at the next look', async () => {
  const { timers, answered, until } = scene(300)
  timers.start()
  await until(400)
  expect(answered).toEqual([300])
  await timers.stop()
})

test('a wait that is registered here is answered when it is due, though no look has seen it', async () => {
  const { timers, due, answered, until, startedAt } = scene()
  timers.start()
  await until(50)
  due.push(250, 200)
  timers.expect(startedAt + 250)
  timers.expect(startedAt + 200)
  await until(400)
  expect(answered).toEqual([200, 250])
  await timers.stop()
})

test('one that nobody has announced is a look late at the most', async () => {
  const { timers, due, answered, looks, until } = scene()
  timers.start()
  await until(50)
  expect(looks).toHaveLength(1)
  due.push(100)
  await until(1_200)
  expect(answered).toEqual([looks[1]])
  await timers.stop()
})

test('more than one statement takes are answered at once, one statement after the other', async () => {
  const { timers, answered, clock, looks } = scene(...Array.from({ length: 2_500 }, () => 0))
  timers.start()
  await clock.advance(0)
  expect([answered.length, looks]).toEqual([2_500, [0, 0, 0]])
  await timers.stop()
})

test('a clock that runs ahead of Postgres’s leads to some looks, not to a loop', async () => {
  const { timers, looks, until, startedAt } = scene(10_000)
  timers.start()
  timers.expect(startedAt - 1_000)
  await until(200)
  expect(looks.length).toBeLessThanOrEqual(3)
  await timers.stop()
})

test('after a stop nothing is left to fire', async () => {
  const { timers, clock, startedAt } = scene()
  timers.start()
  await clock.advance(0)
  timers.expect(startedAt + 500)
  await timers.stop()
  timers.expect(startedAt + 500)
  expect(clock.pending).toBe(0)
})
