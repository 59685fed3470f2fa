import type { Command } from '@headrace/schemas'
import { describe, expect, test, vi } from 'vitest'
import { RunBench } from '../../test/run-bench.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'

const flow = (handler: (ctx: WorkflowContext) => unknown, options: object = {}) =>
  workflow({ id: 'flow', ...options }, handler)
const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind)
const answer = { topic: 'answers/1' }

describe('a run that waits', () => {
  test('leaves its worker, and goes on behind the wait with the event when it comes', async () => {
    const before = vi.fn<() => number>(() => 1)
    const bench = new RunBench(
      flow(async (ctx) => {
        const a = await ctx.step.run('before', before)
        const event = await ctx.step.waitForEvent('answer', { ...answer, timeout: '1h' })
        return [a, event.topic, event.eventType, event.sequenceId, event.createdAt, event.data]
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    expect(bench.run).toMatchObject({ status: 'waiting', epoch: 1, workerId: null })
    bench.orchestrator.emit('answers/1', { ok: true })
    expect(bench.run).toMatchObject({ status: 'queued', epoch: 2, wake: 1 })
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(before).toHaveBeenCalledTimes(1)
    expect(bench.result()).toEqual([1, 'answers/1', null, 0, '1970-01-01T00:00:01.000Z', { ok: true }])
    expect(bench.stats).toMatchObject({ runsSuspended: 1, runsCompleted: 1 })
  })

  test('goes on at once, without leaving, when its answer came before', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('slow', () => bench.orchestrator.emit('answers/1', 'quick'))
        return (await ctx.step.waitForEvent('answer', answer)).data
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('quick')
    expect(bench.run.epoch).toBe(1)
  })

  test('is told by its suspend of an answer that came in between', async () => {
    const bench = new RunBench(
      flow(async (ctx) => (await ctx.step.waitForEvent('answer', answer)).data),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['suspend'])
    bench.orchestrator.emit('answers/1', 'in between')
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('in between')
    expect(bench.run.epoch).toBe(1)
  })

  test('registers a wait only when what the code has seen is stored: its topic may be made of it', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const id = await ctx.step.uuid('id')
        return (await ctx.step.waitForEvent('answer', { topic: `answers/${id}` })).topic
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['step'])
    bench.settle()
    await bench.rest()
    expect(bench.uncommitted).toMatchObject([{ kind: 'wait', wait: { topic: 'answers/uuid-1' } }])
  })

  test('asks once a second for answers while a body keeps it from being parked', async () => {
    let end = (): void => {}
    const order: string[] = []
    const bench = new RunBench(
      flow(async (ctx) => {
        const body = ctx.step.run('body', async () => {
          await new Promise<void>((resolve) => {
            end = resolve
          })
        })
        await ctx.step.waitForEvent('answer', answer)
        order.push('answered')
        await body
        order.push('ended')
      }),
    )
    bench.claim()
    await bench.rest(10)
    expect(bench.delays).toEqual([1_000])
    bench.orchestrator.emit('answers/1', null)
    await bench.rest(10)
    expect(order).toEqual([])
    bench.elapse()
    await bench.rest(10)
    expect(order).toEqual(['answered'])
    // Nothing is open any more, so nobody asks.
    expect(bench.delays).toEqual([1_000])
    end()
    expect(await bench.finish()).toBe('completed')
    expect(bench.run.epoch).toBe(1)
  })

  test('lets go of what its code does outside steps, and begins it again when it goes on', async () => {
    let fetches = 0
    const bench = new RunBench(
      flow(async (ctx) => {
        const own = async (): Promise<string> => {
          fetches += 1
          await bench.rest(50)
          return await ctx.step.run('own', () => 'fetched')
        }
        const [event, text] = await Promise.all([ctx.step.waitForEvent('answer', answer), own()])
        return [event.data, text]
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    bench.orchestrator.emit('answers/1', 1)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([1, 'fetched'])
    expect(fetches).toBe(2)
    await bench.rest(60)
  })

  test('takes up what its code did meanwhile when an answer keeps it from being parked', async () => {
    let fetched = (): void => {}
    const bench = new RunBench(
      flow(async (ctx) => {
        const own = new Promise<void>((resolve) => {
          fetched = resolve
        })
        const event = ctx.step.waitForEvent('answer', answer)
        await own
        const step = await ctx.step.run('own', () => 'fetched')
        return [(await event).data, step]
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['suspend'])
    fetched()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['suspend'])
    bench.orchestrator.emit('answers/1', 1)
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([1, 'fetched'])
  })

  test('completes when its code returns while it asks to be parked, and an answer keeps it', async () => {
    let fetched = (_text: string): void => {}
    const bench = new RunBench(
      flow(async (ctx) => {
        const own = new Promise<string>((resolve) => {
          fetched = resolve
        })
        return await Promise.race([ctx.step.waitForEvent('answer', answer).then(() => 'answered'), own])
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    fetched('own')
    await bench.rest()
    bench.orchestrator.emit('answers/1', 1)
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('own')
  })

  test('logs nothing twice around a wait', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        ctx.log.info('begins')
        await ctx.step.run('a', () => 1)
        ctx.log.info('waits')
        await ctx.step.waitForEvent('answer', answer)
        ctx.log.info('answered')
      }),
    )
    bench.claim()
    await bench.finish()
    bench.orchestrator.emit('answers/1', null)
    bench.claim()
    await bench.finish()
    expect(bench.lines.map((line) => line.message)).toEqual(['begins', 'waits', 'answered'])
  })

  test('that begins again after an error of its own code finds its open wait as it was', async () => {
    let tries = 0
    const bench = new RunBench(
      flow(
        async (ctx) => {
          const event = ctx.step.waitForEvent('answer', answer)
          await ctx.step.run('a', () => 1)
          tries += 1
          if (tries === 1) throw new Error('flaky')
          return (await event).data
        },
        { retries: { jitter: 0 } },
      ),
    )
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    expect([...bench.run.waits.keys()]).toEqual(['answer'])
    bench.orchestrator.emit('answers/1', 'once')
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('once')
  })
})

describe('a worker that stops', () => {
  test('gives back a run before it registers another wait', async () => {
    let end = (): void => {}
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', async () => {
          await new Promise<void>((resolve) => {
            end = resolve
          })
        })
        await ctx.step.waitForEvent('answer', answer)
      }),
    )
    const execution = bench.claim()
    await bench.rest()
    execution.release({ atOnce: false })
    end()
    expect(await bench.finish()).toBe('released')
    expect(bench.run.waits.size).toBe(0)
  })

  test.each([false, true])('lets a run park that is about to (at once: %s)', async (atOnce) => {
    const bench = new RunBench(
      flow(async (ctx) => (await ctx.step.waitForEvent('answer', answer)).data),
      { prompt: false },
    )
    const execution = bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    execution.release({ atOnce })
    execution.lose('the heartbeat says so')
    expect(await bench.finish()).toBe('suspended')
    expect(bench.run.status).toBe('waiting')
  })

  test('at once gives a run back whose suspend brought an answer', async () => {
    const bench = new RunBench(
      flow(async (ctx) => (await ctx.step.waitForEvent('answer', answer)).data),
      { prompt: false },
    )
    const execution = bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    bench.orchestrator.emit('answers/1', 1)
    execution.release({ atOnce: true })
    expect(await bench.finish()).toBe('released')
    bench.claim()
    expect(await bench.finish()).toBe('completed')
  })
})
