import { describe, expect, test } from 'vitest'
import { RunBench } from '../../test/run-bench.ts'
import { NonRetryableError } from '../errors/step-error.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'

const patient = (handler: (ctx: WorkflowContext) => unknown) =>
  workflow({ id: 'flow', onExhausted: 'pause', retries: { maxAttempts: 2 } }, handler)

describe('a run whose workflow says onExhausted: pause', () => {
  test('is paused when the attempts of a step are used up, and a resume makes as many again', async () => {
    let attempts = 0
    const bench = new RunBench(
      patient(async (ctx) => {
        const caught = await ctx.step
          .run('charge', () => {
            attempts += 1
            if (attempts < 4) throw new Error('the bank is closed')
            return 'charged'
          })
          .catch(() => 'caught')
        return caught
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('paused')
    expect(attempts).toBe(2)
    expect(bench.result()).toMatchObject({ message: 'the bank is closed', step_key: 'charge' })
    expect([...bench.run.steps.keys()]).toEqual([])

    bench.orchestrator.resumeRun(bench.runId)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect([attempts, bench.result()]).toEqual([4, 'charged'])
  })

  test('keeps the results of the steps beside the one that gives up', async () => {
    let charged = 0
    let closed = true
    const bench = new RunBench(
      patient(
        async (ctx) =>
          await Promise.all([
            ctx.step.run('closed', () => {
              if (closed) throw new Error('no')
              return 'open'
            }),
            ctx.step.run('charge', async () => {
              charged += 1
              await bench.rest(20)
              return charged
            }),
          ]),
      ),
    )
    bench.claim()
    expect(await bench.finish()).toBe('paused')
    expect([...bench.run.steps.keys()]).toEqual(['charge'])
    closed = false
    bench.orchestrator.resumeRun(bench.runId)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual(['open', 1])
  })

  test('is paused when its own code throws and no attempt is left', async () => {
    let broken = true
    const bench = new RunBench(
      patient(async (ctx) => {
        await ctx.step.run('a', () => 1)
        if (broken) throw new TypeError('a bug')
        return 'mended'
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('paused')
    expect(bench.result()).toMatchObject({ name: 'TypeError', message: 'a bug' })
    broken = false
    bench.orchestrator.resumeRun(bench.runId)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('mended')
  })

  test('fails by an error that says that no other attempt can help', async () => {
    const bench = new RunBench(
      patient(
        async (ctx) =>
          await ctx.step.run('charge', () => {
            throw new NonRetryableError('no such account')
          }),
      ),
    )
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({ name: 'StepFailedError', step_key: 'charge' })
  })
})

test('onExhausted is fail or pause', () => {
  const onExhausted = 'retry' as 'pause'
  expect(() => workflow({ id: 'flow', onExhausted }, () => 1)).toThrow(
    'onExhausted must be "fail" or "pause", not "retry"',
  )
})

test('a run whose code does not fit stores what is under way before it is paused, and begins nothing more', async () => {
  const bodies: string[] = []
  const step = (ctx: WorkflowContext, key: string): Promise<unknown> =>
    ctx.step.run(key, async () => {
      bodies.push(key)
      await bench.rest(20)
      return key
    })
  const bench = new RunBench(
    workflow({ id: 'flow' }, async (ctx) => {
      const other = step(ctx, 'other').then(async () => await step(ctx, 'behind'))
      await Promise.race([ctx.step.uuid('a'), other])
      await Promise.race([ctx.step.uuid('a'), other])
    }),
  )
  bench.claim()
  expect(await bench.finish()).toBe('paused')
  expect(bodies).toEqual(['other'])
  expect([...bench.run.steps.keys()].toSorted()).toEqual(['a', 'other'])
})
