import { describe, expect, test, vi } from 'vitest'
import { RunBench } from '../../test/run-bench.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'

const flow = (handler: (ctx: WorkflowContext) => unknown, options: object = {}) =>
  workflow({ id: 'flow', ...options }, handler)
const noJitter = { retries: { jitter: 0 } }

describe('a handler with retries', () => {
  test('begins again from its stored steps when its own code throws', async () => {
    const body = vi.fn<() => number>(() => 1)
    let tries = 0
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', body)
        tries += 1
        if (tries < 3) throw new Error('flaky')
        return await ctx.step.run('b', () => tries)
      }, noJitter),
    )
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe(3)
    expect(body).toHaveBeenCalledTimes(1)
    expect(bench.delays).toEqual([1_000, 2_000])
  })

  test('leaves alone what its code had called and did not wait for', async () => {
    let tries = 0
    const b = vi.fn<() => Promise<string>>(async () => await Promise.resolve('b'))
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', () => 1)
        const called = ctx.step.run('b', b)
        tries += 1
        if (tries === 1) throw new Error('flaky')
        return await called
      }, noJitter),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    // What b waited for is stored while the code waits to begin again.
    bench.settle()
    await bench.rest()
    expect(b).not.toHaveBeenCalled()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('b')
    expect(b).toHaveBeenCalledTimes(1)
  })
})
