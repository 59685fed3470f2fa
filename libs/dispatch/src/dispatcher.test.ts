import type { OutgoingRecord, ProduceOutcome } from '@headrace/broker'
import { limits } from '@headrace/schemas'
import { type Clock, createMetrics, silentLogger } from '@headrace/service'
import type { DispatchTarget, TaskSeed } from '@headrace/store'
import { describe, expect, test } from 'vitest'
import { dispatcherOf } from './dispatcher.ts'

let made = 0
const seed = (workflow = 'x', input: string | null = null): TaskSeed => ({
  runId: `run-${made++}`,
  epoch: 1,
  workflow,
  queue: 'default',
  lost: 0,
  build: null,
  input,
})

const target = (partitions: number[], workflows: string[]): DispatchTarget => ({
  workerId: 'w',
  queue: 'default',
  partitions,
  workflows,
  build: 'b1',
  pinned: [],
  paused: [],
})

interface Setting {
  targets?: () => Promise<DispatchTarget[]>
  outcome?: (record: OutgoingRecord) => ProduceOutcome
  hold?: Promise<void>
}

function dispatching({ targets, outcome, hold }: Setting = {}) {
  const sends: OutgoingRecord[][] = []
  let nowMs = 1_000
  let reads = 0
  const clock: Clock = {
    now: () => nowMs,
    // Short waits are over at once; long ones (the pause between readings) end only by a poke or a stop.
    sleep: async (ms, signal) => {
      signal.throwIfAborted()
      if (ms <= 100) return
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error))
      })
    },
    every: () => () => undefined,
  }
  const metrics = createMetrics()
  const dispatcher = dispatcherOf({
    prefix: 'test',
    log: silentLogger,
    clock,
    metrics,
    targets: async () => {
      reads += 1
      return (await targets?.()) ?? [target([0, 1], ['x'])]
    },
    producer: {
      produce: async (records) => {
        sends.push([...records])
        await hold
        return records.map(
          (record, index) =>
            outcome?.(record) ?? {
              status: 'written',
              partition: record.partition ?? 0,
              offset: index,
              timestamp: nowMs,
            },
        )
      },
    },
  })
  dispatcher.start()
  const counted = async (): Promise<Record<string, number>> => {
    const { values } = await metrics.registry.getSingleMetric('headrace_dispatch_tasks_total')!.get()
    return Object.fromEntries(values.map(({ labels, value }) => [labels['outcome'], value]))
  }
  return {
    dispatcher,
    sends,
    counted,
    reads: () => reads,
    advance: (ms: number) => {
      nowMs += ms
    },
  }
}

const partitions = (records: OutgoingRecord[] | undefined): (number | null)[] =>
  (records ?? []).map((record) => record.partition)

describe('a task', () => {
  test('carries what a worker needs to claim its run, and goes to a partition in turn', async () => {
    const { dispatcher, sends } = dispatching()
    const seeds = [seed('x', '{"a":1}'), seed('x'), seed('x')]
    await dispatcher.dispatch(seeds)
    expect(sends.flat().map((record) => [record.topic, record.partition, record.key])).toEqual([
      ['test.tasks.default', 0, null],
      ['test.tasks.default', 1, null],
      ['test.tasks.default', 0, null],
    ])
    expect(JSON.parse(String(sends.flat()[0]!.value))).toEqual({
      run_id: seeds[0]!.runId,
      epoch: 1,
      workflow: 'x',
      lost: 0,
      input: '{"a":1}',
    })
  })

  test('leaves out input above its limit, measured in bytes', async () => {
    const { dispatcher, sends } = dispatching()
    const fits = 'x'.repeat(limits.taskInputBytesMax)
    await dispatcher.dispatch([
      seed('x', fits),
      seed('x', `${fits}x`),
      seed('x', 'é'.repeat(limits.taskInputBytesMax)),
    ])
    const inputs = sends
      .flat()
      .map((record) => (JSON.parse(String(record.value)) as { input?: string }).input?.length)
    expect(inputs).toEqual([limits.taskInputBytesMax, undefined, undefined])
  })
})

describe('a run that nobody can be told of stays queued, where stealing finds it', () => {
  test('no worker lists its workflow: the workers are read once more, then it is given up', async () => {
    const { dispatcher, sends, counted, reads } = dispatching()
    await dispatcher.dispatch([seed('y'), seed('x')])
    expect(partitions(sends[0])).toEqual([0])
    expect(await counted()).toEqual({ no_target: 1, written: 1 })
    const before = reads()
    await dispatcher.dispatch([seed('y'), seed('y')])
    expect(reads()).toBe(before + 1)
    expect(await counted()).toEqual({ no_target: 3, written: 1 })
  })

  test('a worker that has just come is found', async () => {
    let workflows = ['x']
    const { dispatcher, counted } = dispatching({
      targets: async () => await Promise.resolve([target([0], workflows)]),
    })
    await dispatcher.dispatch([seed('x')])
    workflows = ['x', 'y']
    await dispatcher.dispatch([seed('y')])
    expect(await counted()).toEqual({ written: 2 })
  })

  test('Postgres is away: nothing is thrown', async () => {
    const { dispatcher, counted } = dispatching({
      targets: async () => await Promise.reject(new Error('away')),
    })
    await dispatcher.dispatch([seed('x')])
    expect(await counted()).toEqual({ no_target: 1 })
  })

  test('a partition that refused is left out for a while', async () => {
    const refuse = new Set([1])
    const { dispatcher, sends, counted, advance } = dispatching({
      outcome: ({ partition }) =>
        refuse.has(partition ?? -1)
          ? { status: 'refused', code: 'leader_not_available', message: 'no leader', retryable: true }
          : { status: 'written', partition: partition ?? 0, offset: 0, timestamp: 0 },
    })
    await dispatcher.dispatch([seed(), seed()])
    await dispatcher.dispatch([seed(), seed()])
    expect(sends.map(partitions)).toEqual([
      [0, 1],
      [0, 0],
    ])
    advance(5_000)
    refuse.clear()
    await dispatcher.dispatch([seed(), seed()])
    expect(new Set(partitions(sends[2]))).toEqual(new Set([0, 1]))
    expect(await counted()).toEqual({ written: 5, refused: 1 })
  })

  test('more than fits is dropped, and said', async () => {
    const { promise: hold, resolve } = Promise.withResolvers<void>()
    const { dispatcher, counted } = dispatching({ hold })
    const settled = dispatcher.dispatch(Array.from({ length: 50_010 }, () => seed()))
    resolve()
    await settled
    expect(await counted()).toEqual({ written: 50_000, overflow: 10 })
  })
})

test('stopping sends what is held, and takes nothing more', async () => {
  const { promise: hold, resolve } = Promise.withResolvers<void>()
  const { dispatcher, counted } = dispatching({ hold })
  // Once this is given up the workers have been read.
  await dispatcher.dispatch([seed('none')])
  const settled = dispatcher.dispatch([seed(), seed()])
  const stopped = dispatcher.stop()
  await dispatcher.dispatch([seed()])
  resolve()
  await Promise.all([settled, stopped])
  expect(await counted()).toEqual({ no_target: 1, written: 2, overflow: 1 })
})
