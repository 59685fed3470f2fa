import type { Command, CommandReply, Task } from '@headrace/schemas'
import { expect, test } from 'vitest'
import type { RunHost } from '../run/run-host.ts'
import { noStats } from '../run/run-stats.ts'
import { workflow } from '../workflow/workflow.ts'
import { InHandTable } from './in-hand-table.ts'
import { RunPool } from './run-pool.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const never = async (): Promise<never> => await new Promise<never>(() => {})

function poolOf(answer: (command: Command) => Promise<CommandReply>) {
  const clock = { nowMs: 1_000_000 }
  const host: RunHost = {
    send: answer,
    now: () => clock.nowMs,
    delay: async () => {},
    random: () => 0,
    uuid: () => '01234567-89ab-4def-8123-456789abcdef',
    build: 'b1',
    log: silent,
    statsOf: noStats,
  }
  const only = workflow({ id: 'only' }, () => null)
  const pool = new RunPool({
    workflows: new Map([[only.id, only]]),
    concurrency: 4,
    host,
    inHand: new InHandTable(8),
    log: silent,
    onRoom: () => {},
  })
  return { pool, clock }
}

let made = 0
function task(lost: number): Task {
  made += 1
  const run_id = `01234567-89ab-7def-8123-${String(made).padStart(12, '0')}`
  return { run_id, epoch: 1, workflow: 'only', lost, input: 'null' }
}

test('a run that is to be alone and whose partition was taken away does not keep the worker closed', () => {
  const { pool, clock } = poolOf(never)
  const long = task(0)
  expect(pool.offer(long, () => {})).toBe(true)
  expect(pool.offer(task(2), () => {})).toBe(false)
  expect(pool.room).toBe(0)

  // The partition is another worker's now: the task is offered no more.
  for (let second = 0; second < 10; second += 1) {
    clock.nowMs += 1_000
    pool.tick()
  }
  expect(pool.room).toBe(3)
  expect(pool.offer(task(0), () => {})).toBe(true)
})

test('a run that is to be alone and goes on being offered is given up to stealing after the hold', () => {
  const { pool, clock } = poolOf(never)
  pool.offer(task(0), () => {})
  const alone = task(2)
  let settled = 0
  let offers = 0
  for (let taken = false; !taken; offers += 1) {
    taken = pool.offer(alone, () => {
      settled += 1
    })
    clock.nowMs += 500
    pool.tick()
  }
  expect(offers).toBeGreaterThan(5)
  expect(settled).toBe(1)
  expect(pool.room).toBe(3)
})
