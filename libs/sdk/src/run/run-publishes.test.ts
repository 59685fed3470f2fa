import type { Command } from '@headrace/schemas'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { RunBench } from '../../test/run-bench.ts'
import { SchemaValidationError, StepFailedError } from '../errors/step-error.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'

const flow = (handler: (ctx: WorkflowContext) => unknown) => workflow({ id: 'flow' }, handler)
const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind)

describe('a publish', () => {
  test('is sent with the key of its step, and its place is the result, now and on replay', async () => {
    const places: unknown[] = []
    const bench = new RunBench(
      flow(async (ctx) => {
        places.push(
          await ctx.step.publishEvent('send', {
            topic: 'requests/1',
            data: { action: 'process' },
            eventType: 'request',
            key: 'k',
          }),
        )
        await ctx.step.sleep('pause', 1)
      }),
    )
    bench.claim()
    await bench.finish()
    bench.now += 1_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    const id = `${bench.runId}/send`
    expect(bench.orchestrator.log).toMatchObject([
      {
        id,
        source: 'headrace:run',
        topic: 'requests/1',
        event_type: 'request',
        key: 'k',
        data: { action: 'process' },
      },
    ])
    const createdAt = '1970-01-01T00:00:01.000Z'
    const place = { id, topic: 'requests/1', stream: 'requests', partition: 0, sequenceId: 0, createdAt }
    expect(places).toEqual([place, place])
  })

  test('of a defined event is checked by its schema before anything is sent', async () => {
    const order = defineEvent('orders/{id}', {
      schema: z.object({ total: z.number() }),
      eventType: 'created',
    })
    const bench = new RunBench(
      flow(async (ctx) => {
        const params = { id: '7' }
        const { topic } = await ctx.step.publishEvent('good', order, { params, data: { total: 5 } })
        const wrong = { total: 'x' } as unknown as { total: number }
        const bad = await ctx.step
          .publishEvent('bad', order, { params, data: wrong })
          .catch((error: unknown) => error instanceof SchemaValidationError && error.message)
        return [topic, bad]
      }),
    )
    bench.claim()
    await bench.finish()
    expect(bench.result()).toEqual([
      'orders/7',
      expect.stringContaining('step "bad": an event of orders/7 does not pass its schema: /data/total'),
    ])
    expect(bench.orchestrator.log).toMatchObject([{ topic: 'orders/7', event_type: 'created' }])
  })

  test('that its stream does not take fails the step, without another attempt', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const failed = await ctx.step
          .publishEvent('send', { topic: 'requests/1', data: 1 })
          .catch((error: unknown) => error as StepFailedError)
        return failed instanceof StepFailedError && [failed.attempts, failed.message]
      }),
    )
    bench.orchestrator.refusedTopics.set('requests/1', { code: 'stream_read_only', detail: 'no' })
    bench.claim()
    await bench.finish()
    expect(bench.result()).toEqual([
      1,
      'step "send" failed after 1 attempt: the event was refused (stream_read_only): no',
    ])
  })

  test('that nobody awaits is written before the run ends, and stored with its end', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.run('a', () => 1)
        const sent = ctx.step.publishEvent('send', { topic: 'requests/1', data: null })
        sent.then(async () => await ctx.step.run('late', () => 1)).catch(() => {})
        return 'returned'
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.settle()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['publish'])
    bench.settle()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['step', 'complete'])
    expect(await bench.finish()).toBe('completed')
    expect([...bench.run.steps.keys()]).toEqual(['a', 'send'])
  })

  test('that nobody awaits is written before the run fails', async () => {
    const bench = new RunBench(
      flow((ctx) => {
        ctx.step.publishEvent('send', { topic: 'requests/1', data: null }).catch(() => {})
        throw new Error('no')
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['publish'])
    expect(await bench.finish()).toBe('failed')
    expect(bench.run.steps.has('send')).toBe(true)
  })

  test('in flight keeps a run from being parked', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const sent = ctx.step.publishEvent('send', { topic: 'requests/1', data: null })
        await ctx.step.waitForEvent('answer', { topic: 'answers/1' })
        await sent
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    expect(kinds(bench.uncommitted)).toEqual(['publish', 'wait'])
    bench.commit(1)
    bench.answer(1)
    await bench.rest(10)
    expect(kinds(bench.uncommitted)).toEqual(['publish'])
    expect(await bench.finish()).toBe('suspended')
  })

  test('written by a worker that died before it was stored is written again under the same id', async () => {
    const bench = new RunBench(
      flow(
        async (ctx) => (await ctx.step.publishEvent('send', { topic: 'requests/1', data: null })).sequenceId,
      ),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.commit()
    bench.crash()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.orchestrator.log.map((event) => event.id)).toEqual([
      `${bench.runId}/send`,
      `${bench.runId}/send`,
    ])
    expect(bench.result()).toBe(1)
  })
})
