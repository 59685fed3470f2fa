import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { RunBench } from '../../test/run-bench.ts'
import {
  type LimitExceededError,
  NonRetryableError,
  RetryAfterError,
  StepFailedError,
} from '../errors/step-error.ts'
import { RunCancelledError } from '../errors/run-error.ts'
import { defineEvent } from '../workflow/define-event.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'

const flow = (handler: (ctx: WorkflowContext) => unknown, options: object = {}) =>
  workflow({ id: 'flow', ...options }, handler)
const storedStep = { step_kind: 'run', n: 0, seen: 0, epoch: 1, attempts: 1, error: null } as const
const noJitter = { retries: { jitter: 0 } }

describe('a run', () => {
  test('stores each step and completes with what its handler returns', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const a = await ctx.step.run('a', () => 1)
        return { sum: a + (await ctx.step.run('b', async () => 2)) }
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual({ sum: 3 })
    expect([...bench.run.steps.values()].map(({ key, n, output }) => [key, n, output])).toEqual([
      ['a', 0, '1'],
      ['b', 1, '2'],
    ])
  })

  test('gets its results as JSON, the first time as on replay', async () => {
    const day = new Date(0)
    const bench = new RunBench(
      flow(async (ctx) => [
        await ctx.step.run('date', () => ({ day, none: undefined })),
        await ctx.step.run('nothing', () => {}),
      ]),
    )
    bench.claim()
    await bench.finish()
    expect(bench.result()).toEqual([{ day: '1970-01-01T00:00:00.000Z' }, null])
  })

  test('does not run a stored body again, whoever goes on with it', async () => {
    const body = vi.fn<() => number>(() => 7)
    const bench = new RunBench(
      flow(async (ctx) => {
        const id = await ctx.step.uuid('id')
        const at = await ctx.step.now('at')
        const dice = await ctx.step.random('dice')
        const a = await ctx.step.run('a', body)
        return [id, at.getTime(), dice, a, await ctx.step.run('b', () => 'b')]
      }),
      { prompt: false },
    )
    bench.claim()
    while (!bench.run.steps.has('a')) {
      await bench.rest()
      bench.settle()
    }
    bench.crash()
    bench.now = 99_000
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(body).toHaveBeenCalledTimes(1)
    expect(bench.result()).toEqual(['uuid-1', 1_000, 0.25, 7, 'b'])
  })

  test('goes on with an unstored result, but starts no body before it is stored', async () => {
    const after = vi.fn<() => void>()
    const second = vi.fn<() => void>()
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', () => 1)
        after()
        await ctx.step.run('b', second)
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    expect(after).toHaveBeenCalledTimes(1)
    expect(second).not.toHaveBeenCalled()
    bench.commit()
    await bench.rest()
    expect(second).not.toHaveBeenCalled()
    bench.answer()
    await bench.rest()
    expect(second).toHaveBeenCalledTimes(1)
  })

  test('sends its last step and its end together', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const [a, b] = await Promise.all([ctx.step.run('a', () => 1), ctx.step.run('b', () => 2)])
        return a + b
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    expect(bench.uncommitted.map((command) => command.kind)).toEqual(['step', 'step', 'complete'])
  })

  test('fails with what its handler throws', async () => {
    const bench = new RunBench(
      flow(() => {
        throw new TypeError('no such order')
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({ name: 'TypeError', message: 'no such order', step_key: null })
  })

  test('that another worker took over aborts its signal and sends nothing more', async () => {
    let signal: AbortSignal | null = null
    const bench = new RunBench(
      flow(async (ctx) => {
        signal = ctx.signal
        await ctx.step.run('a', () => 1)
        await ctx.step.run('b', () => 2)
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.orchestrator.recover(bench.runId)
    bench.settle()
    await bench.rest()
    expect(bench.end).toBe('lost')
    expect(signal!.reason).toBeInstanceOf(RunCancelledError)
    expect(bench.uncommitted).toEqual([])
  })

  test('is given back when another result stands under its key, and the stored one is what counts', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const a = await ctx.step.run('a', () => 'mine')
        await ctx.step.run('b', () => 1)
        return a
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.run.steps.set('a', { ...storedStep, n: 9, key: 'a', output: '"theirs"' })
    expect(await bench.finish()).toBe('released')
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('theirs')
  })

  test.each([
    ['a key twice', 'duplicate', async (ctx: WorkflowContext) => await ctx.step.uuid('a')],
    ['a key as another kind', 'other', async (ctx: WorkflowContext) => await ctx.step.random('c')],
  ])('with %s is paused, not failed, and goes on with code that fits', async (_name, which, misfit) => {
    let fits = false
    const bench = new RunBench(
      flow(async (ctx) => {
        if (which === 'other' && !fits) return await misfit(ctx)
        await ctx.step.run('a', () => 1)
        if (!fits) return await misfit(ctx)
        return await ctx.step.run('c', () => 'fits')
      }),
    )
    if (which === 'other') bench.run.steps.set('c', { ...storedStep, key: 'c', output: '"fits"' })
    bench.claim()
    expect(await bench.finish()).toBe('paused')
    expect(bench.run.status).toBe('paused')
    expect(bench.result()).toMatchObject({
      code: which === 'other' ? 'replay_mismatch' : 'duplicate_step_key',
      step_key: which === 'other' ? 'c' : 'a',
      message: expect.stringContaining('It began on build b1, and this is build b2') as string,
    })
    fits = true
    bench.orchestrator.resumeRun(bench.runId)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('fits')
  })

  test('logs nothing twice', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        ctx.log.info('begins')
        await ctx.step.run('a', () => 1)
        ctx.log.info('after a')
        await ctx.step.run('b', () => 2)
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    bench.crash()
    bench.claim()
    await bench.finish()
    expect(bench.lines.map((line) => line.message)).toEqual(['begins', 'after a', 'after a'])
  })

  test('takes at most 1,000 steps', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        for (let i = 0; i < 1_000; i += 1) await ctx.step.random(`r${i}`)
        return await ctx.step
          .run('one more', () => 1)
          .catch((error: unknown) => (error as LimitExceededError).limit)
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('stepsPerRunMax')
  })
})

describe('a step', () => {
  test('is tried again after longer and longer delays, then fails into the workflow', async () => {
    const body = vi.fn<() => never>(() => {
      throw new TypeError('down')
    })
    const bench = new RunBench(
      flow(async (ctx) => {
        const failed = await ctx.step.run('a', body).catch((error: unknown) => error as StepFailedError)
        return [failed instanceof StepFailedError, failed.stepKey, failed.attempts, String(failed.cause)]
      }, noJitter),
    )
    bench.claim()
    await bench.finish()
    expect(body).toHaveBeenCalledTimes(4)
    expect(bench.delays).toEqual([1_000, 2_000, 4_000])
    expect(bench.result()).toMatchObject([true, 'a', 4, 'TypeError: down'])
  })

  test.each([
    ['gives up at once on a NonRetryableError', () => new NonRetryableError('card declined'), 1, []],
    ['waits as long as a RetryAfterError says', () => new RetryAfterError('busy', '90s'), 2, [90_000]],
  ])('%s', async (_name, make, times, delays) => {
    const body = vi.fn<() => never>(() => {
      throw make()
    })
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', body, { retries: { maxAttempts: 2 } })
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(body).toHaveBeenCalledTimes(times)
    expect(bench.delays).toEqual(delays)
    expect(bench.result()).toMatchObject({ name: 'StepFailedError', code: 'step_failed', step_key: 'a' })
  })

  test('that failed is thrown again on replay, as an error of its class', async () => {
    const seen: unknown[] = []
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step
          .run('a', () => {
            throw new NonRetryableError('no')
          })
          .catch((error: unknown) => seen.push((error as Error).cause))
        await ctx.step.run('b', () => 1)
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    bench.crash()
    bench.claim()
    await bench.finish()
    expect(seen).toHaveLength(2)
    for (const cause of seen) expect(cause).toBeInstanceOf(NonRetryableError)
  })

  test('whose result is too large fails with the limit and the key', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('big', () => 'x'.repeat(1024 * 1024))
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({ message: expect.stringContaining('step "big" is 1048578 bytes') })
  })

  test('that fails while nobody looks does not end the worker', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const later = ctx.step.run('fails', () => {
          throw new NonRetryableError('no')
        })
        await ctx.step.run('slow', async () => {
          await bench.rest(3)
        })
        return await later.catch(() => 'caught')
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('caught')
  })
})

describe('a run that is given back', () => {
  test('goes on to its next step boundary, and no further', async () => {
    const second = vi.fn<() => string>(() => 'b')
    let endFirst = (): void => {}
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', async () => {
          await new Promise<void>((resolve) => {
            endFirst = resolve
          })
        })
        return await ctx.step.run('b', second)
      }),
    )
    const execution = bench.claim()
    await bench.rest()
    execution.release({ atOnce: false })
    await bench.rest()
    expect(bench.run.status).toBe('running')
    endFirst()
    expect(await bench.finish()).toBe('released')
    expect(bench.run.steps.has('a')).toBe(true)
    expect(second).not.toHaveBeenCalled()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
  })

  test('does not wait for a delay between attempts', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', () => {
          throw new Error('down')
        })
      }),
    )
    const execution = bench.claim()
    await bench.rest()
    execution.release({ atOnce: false })
    await bench.rest()
    expect(bench.end).toBe('released')
  })

  test('at once aborts the signal and does not wait for the body', async () => {
    let signal: AbortSignal | null = null
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', async (attempt) => {
          signal = attempt.signal
          await new Promise(() => {})
        })
      }),
    )
    const execution = bench.claim()
    await bench.rest()
    execution.release({ atOnce: true })
    await bench.rest()
    expect(bench.end).toBe('released')
    expect(signal!.aborted).toBe(true)
  })
})

describe('the input', () => {
  const wire = { topic: 'orders/created', data: { total: '5' }, sequence_id: 7, event_type: 'created' }
  const order = defineEvent('orders/created', { schema: z.object({ total: z.coerce.number() }) })
  const triggered = workflow({ id: 'flow', triggerOnEvent: order }, (_ctx, { events }) => [
    events[0].data.total,
    events[0].sequenceId,
    events[0].eventType,
  ])

  test('of a triggered workflow is always a list of events, with what the schema makes of their data', async () => {
    const bench = new RunBench(triggered, { input: { events: [wire] } })
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([5, 7, 'created'])
  })

  test.each([
    [{ events: [{ ...wire, data: { total: 'x' } }] }, '/events/0/data/total'],
    [{ order: 1 }, '/events'],
    [{ events: [] }, '/events'],
  ])(
    '%j that does not pass fails the run at once, with the place, and sets it aside',
    async (input, path) => {
      const bench = new RunBench(triggered, { input })
      bench.claim()
      expect(await bench.finish()).toBe('failed')
      expect(bench.commands.at(-1)).toMatchObject({ kind: 'fail', set_aside: 'schema_invalid' })
      expect(bench.result()).toMatchObject({
        name: 'SchemaValidationError',
        code: 'schema_invalid',
        message: expect.stringContaining(path),
      })
    },
  )

  test('that passed is not set aside for what the handler publishes', async () => {
    const bench = new RunBench(
      workflow({ id: 'flow' }, async (ctx) => {
        await ctx.step.publishEvent('a', order, { data: { total: 'x' } })
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({ code: 'schema_invalid' })
    expect(bench.commands.at(-1)).not.toHaveProperty('set_aside')
  })
})
