import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { RunBench } from '../../test/run-bench.ts'
import {
  type LimitExceededError,
  NonRetryableError,
  SchemaValidationError,
  WaitTimeoutError,
} from '../errors/step-error.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'

const flow = (handler: (ctx: WorkflowContext) => unknown, options: object = {}) =>
  workflow({ id: 'flow', ...options }, handler)
const answer = { topic: 'answers/1' }

describe('a wait', () => {
  test('sends its arguments as the orchestrator takes them, with its defaults', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        await Promise.all([
          ctx.step.waitForEvent('plain', { topic: 'a/b' }),
          ctx.step.waitForEvent('full', {
            topic: 'a/b',
            timeout: 300,
            if: 'event.data.n > 1',
            since: new Date(5),
          }),
          ctx.step.waitForEvent('ago', { topic: 'a/b', timeout: '5m', since: '10m' }),
          ctx.step.sleep('sleep', '1h'),
          ctx.step.sleepUntil('date', new Date(9)),
          ctx.step.sleepUntil('text', '1970-01-01T01:00:00+01:00'),
          ctx.step.sleepUntil('ms', 11),
        ])
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    const event = { kind: 'event', topic: 'a/b', filter: null, since: 'run' }
    const waits = bench.uncommitted.map((command) => ('wait' in command ? command.wait : null))
    expect(waits).toEqual([
      { ...event, timeout_ms: 24 * 3_600_000 },
      { ...event, filter: 'event.data.n > 1', since: { at_ms: 5 }, timeout_ms: 300_000 },
      { ...event, since: { ago_ms: 600_000 }, timeout_ms: 300_000 },
      { kind: 'time', due: { after_ms: 3_600_000 } },
      { kind: 'time', due: { at_ms: 9 } },
      { kind: 'time', due: { at_ms: 0 } },
      { kind: 'time', due: { at_ms: 11 } },
    ])
  })

  test('that times out throws WaitTimeoutError as it is, now and on every replay', async () => {
    const caught: unknown[] = []
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step
          .waitForEvent('answer', { ...answer, timeout: '5m' })
          .catch((error: unknown) => caught.push(error))
        await ctx.step.sleep('more', 60)
      }),
    )
    bench.claim()
    await bench.finish()
    for (let life = 0; life < 2; life += 1) {
      bench.now += 600_000
      bench.orchestrator.answerAll()
      bench.claim()
      await bench.finish()
    }
    expect(bench.run.status).toBe('completed')
    expect(caught).toHaveLength(2)
    for (const error of caught) {
      expect(error).toBeInstanceOf(WaitTimeoutError)
      expect(error).toMatchObject({
        stepKey: 'answer',
        topic: 'answers/1',
        timeoutMs: 300_000,
        unverified: false,
      })
    }
  })

  test('that times out and is not caught fails the run, with its step', async () => {
    const bench = new RunBench(
      flow(async (ctx) => await ctx.step.waitForEvent('answer', { ...answer, timeout: 0 }), {
        retries: { maxAttempts: 5 },
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({
      name: 'WaitTimeoutError',
      code: 'wait_timeout',
      step_key: 'answer',
    })
  })

  test('in a loop sees each event once, in order, though they came before', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const seen: unknown[] = []
        for (let n = 0; n < 4; n += 1)
          seen.push((await ctx.step.waitForEvent(`piece:${n}`, { topic: 'pieces' })).data)
        return seen
      }),
    )
    for (const n of [1, 2]) bench.orchestrator.emit('pieces', n)
    bench.claim()
    await bench.finish()
    for (const n of [3, 4]) bench.orchestrator.emit('pieces', n)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([1, 2, 3, 4])
  })

  test('of a defined event has its topic by params, and its data by the schema', async () => {
    const approval = defineEvent('approvals/{id}', { schema: z.object({ total: z.coerce.number() }) })
    const bench = new RunBench(
      flow(async (ctx) => {
        const params = { id: '7' }
        const { data } = await ctx.step.waitForEvent('good', approval, {
          params,
          if: 'event.data.total != "x"',
        })
        const bad = await ctx.step
          .waitForEvent('bad', approval, { params, if: 'event.data.total == "x"' })
          .catch((error: unknown) => error instanceof SchemaValidationError && error.issues[0]?.path)
        return [data.total, bad]
      }),
    )
    bench.orchestrator.emit('approvals/7', { total: '5' })
    bench.orchestrator.emit('approvals/7', { total: 'x' })
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([5, '/data/total'])
  })

  test('called otherwise than it was registered pauses the run, until code that fits takes over', async () => {
    let topic = 'answers/1'
    const bench = new RunBench(flow(async (ctx) => (await ctx.step.waitForEvent('answer', { topic })).data))
    bench.claim()
    await bench.finish()
    topic = 'answers/2'
    Object.assign(bench.run, { status: 'queued', epoch: 2 })
    bench.claim()
    expect(await bench.finish()).toBe('paused')
    expect(bench.result()).toMatchObject({
      code: 'replay_mismatch',
      step_key: 'answer',
      message: expect.stringContaining('it waited on answers/1, and now on answers/2') as string,
    })
    topic = 'answers/1'
    bench.orchestrator.resumeRun(bench.runId)
    bench.claim()
    await bench.finish()
    bench.orchestrator.emit('answers/1', 'fits')
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('fits')
  })

  test('past the hundredth that is open is refused, and catching that is no fault', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const open = Array.from({ length: 100 }, async (_, n) => await ctx.step.sleep(`sleep:${n}`, 1))
        const limit = await ctx.step
          .sleep('one more', 1)
          .catch((error: unknown) => (error as LimitExceededError).limit)
        await Promise.all(open)
        return limit
      }),
    )
    bench.claim()
    await bench.finish()
    bench.now += 1_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('openWaitsPerRunMax')
  })

  test('that the orchestrator refuses throws into the workflow', async () => {
    const bench = new RunBench(
      flow(
        async (ctx) =>
          await ctx.step
            .waitForEvent('answer', answer)
            .catch((error: unknown) => [error instanceof NonRetryableError, (error as Error).message]),
      ),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    vi.spyOn(bench.orchestrator, 'apply').mockReturnValueOnce([
      { kind: 'refused', code: 'invalid_filter', detail: 'no such function' },
    ])
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([true, 'step "answer" cannot wait: no such function (invalid_filter)'])
  })
})
