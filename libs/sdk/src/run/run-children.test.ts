import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { RunBench } from '../../test/run-bench.ts'
import {
  ChildRunError,
  type LimitExceededError,
  SchemaValidationError,
  StepFailedError,
  WaitTimeoutError,
} from '../errors/step-error.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'

const flow = (handler: (ctx: WorkflowContext) => unknown, options: object = {}) =>
  workflow({ id: 'flow', ...options }, handler)
const report = workflow(
  { id: 'report', input: z.object({ day: z.string() }), output: z.object({ rows: z.number() }) },
  () => ({ rows: 1 }),
)
const day = { day: '2026-11-22' }

describe('a step that invokes', () => {
  test('starts its child once, and gives the same id on every replay', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const child = await ctx.step.invoke('child', report, day)
        await ctx.step.sleep('nap', 1)
        return child
      }),
    )
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    const child = bench.orchestrator.childOf(bench.runId, 'child')
    expect(child).toMatchObject({ workflow: 'report', input: '{"day":"2026-11-22"}', status: 'queued' })
    bench.now += 1_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual({ id: child!.id, workflow: 'report' })
    expect(bench.orchestrator.runs.size).toBe(2)
  })

  test('whose worker dies before its result is stored finds the child that was started', async () => {
    const bench = new RunBench(
      flow(async (ctx) => (await ctx.step.invoke('child', 'report')).id),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    bench.commit()
    bench.answer()
    await bench.rest()
    bench.crash()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.orchestrator.runs.size).toBe(2)
    expect(bench.result()).toBe(bench.orchestrator.childOf(bench.runId, 'child')?.id)
  })

  test('is waited for by the end of its run, though the code did not', async () => {
    const bench = new RunBench(
      flow((ctx) => {
        ctx.step.invoke('child', report, day).catch(() => {})
        return 'done'
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    expect(bench.uncommitted.map(({ kind }) => kind)).toEqual(['invoke'])
    expect(await bench.finish()).toBe('completed')
    expect(bench.orchestrator.childOf(bench.runId, 'child')?.input).toBe('{"day":"2026-11-22"}')
  })

  test('fails where no such workflow is registered, on every replay, also when it has come', async () => {
    const caught: unknown[] = []
    const bench = new RunBench(
      flow(async (ctx) => {
        await ctx.step.invoke('child', 'none').catch((error: unknown) => caught.push(error))
        await ctx.step.sleep('nap', 1)
      }),
    )
    bench.orchestrator.unknownWorkflows.add('none')
    bench.claim()
    await bench.finish()
    bench.orchestrator.unknownWorkflows.clear()
    bench.now += 1_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(caught).toHaveLength(2)
    for (const error of caught) expect(error).toBeInstanceOf(StepFailedError)
    expect(String(caught[0])).toContain('the run was refused (workflow_not_found)')
  })
})

describe('a step that waits for its child', () => {
  const waiting = flow(async (ctx) => await ctx.step.invokeAndWait('child', report, day, { timeout: '1h' }))

  test('parks its run, and gives what the child returned', async () => {
    const bench = new RunBench(waiting)
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    bench.orchestrator.endChild(bench.runId, 'child', { output: { rows: 7 } })
    expect(bench.run).toMatchObject({ status: 'queued', epoch: 2 })
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual({ rows: 7 })
    expect(bench.orchestrator.runs.size).toBe(2)
  })

  test('sends no time of its own where none is given: as long as it takes', async () => {
    const bench = new RunBench(
      flow(async (ctx) => await ctx.step.invokeAndWait('child', 'report')),
      { prompt: false },
    )
    bench.claim()
    await bench.rest()
    const wait = { kind: 'run', workflow: 'report', input: 'null', timeout_ms: 366 * 24 * 3_600_000 }
    expect(bench.uncommitted).toMatchObject([{ kind: 'wait', key: 'child', seen: 0, wait }])
  })

  test('throws ChildRunError when the child did not complete, now and on every replay, and fails the run by it', async () => {
    const caught: unknown[] = []
    const bench = new RunBench(
      flow(async (ctx) => {
        try {
          await ctx.step.invokeAndWait('child', report, day)
        } catch (error) {
          caught.push(error)
          await ctx.step.sleep('nap', 1)
          throw error
        }
      }),
    )
    bench.claim()
    await bench.finish()
    bench.orchestrator.endChild(bench.runId, 'child', { error: 'no paper' })
    bench.claim()
    await bench.finish()
    bench.now += 1_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    const { id } = bench.orchestrator.childOf(bench.runId, 'child')!
    expect(caught).toHaveLength(2)
    for (const error of caught) {
      expect(error).toBeInstanceOf(ChildRunError)
      expect(error).toMatchObject({
        stepKey: 'child',
        runId: id,
        status: 'failed',
        error: { message: 'no paper', code: 'boom' },
        cause: { message: 'no paper' },
      })
    }
    expect(bench.result()).toMatchObject({
      name: 'ChildRunError',
      code: 'child_run_failed',
      step_key: 'child',
    })
  })

  test('throws WaitTimeoutError when it takes too long, and leaves the child running', async () => {
    const bench = new RunBench(waiting)
    bench.claim()
    await bench.finish()
    bench.now += 3_600_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({
      name: 'WaitTimeoutError',
      message: 'step "child" waited 3600 s, and nothing answered it',
      step_key: 'child',
    })
    expect(bench.orchestrator.childOf(bench.runId, 'child')?.status).toBe('queued')
  })

  test.each([
    ['another workflow', async (ctx: WorkflowContext) => await ctx.step.invokeAndWait('child', 'other')],
    [
      'an invoke that does not wait',
      async (ctx: WorkflowContext) => await ctx.step.invoke('child', report, day),
    ],
  ])('called as %s pauses the run, until code that fits takes over', async (_name, misfit) => {
    let fits = true
    const bench = new RunBench(
      flow(async (ctx) => (fits ? await ctx.step.invokeAndWait('child', report, day) : await misfit(ctx))),
    )
    bench.claim()
    await bench.finish()
    fits = false
    Object.assign(bench.run, { status: 'queued', epoch: 2 })
    bench.claim()
    expect(await bench.finish()).toBe('paused')
    fits = true
    bench.orchestrator.resumeRun(bench.runId)
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    expect(bench.orchestrator.runs.size).toBe(2)
  })
})

describe('a step that waits for somebody', () => {
  test('parks its run, and gives what it is resumed with, first', async () => {
    const bench = new RunBench(flow(async (ctx) => await ctx.step.suspend('ask', { timeout: '7d' })))
    expect(bench.orchestrator.resume(bench.runId, 'ask', 'too early')).toBe(false)
    bench.claim()
    expect(await bench.finish()).toBe('suspended')
    expect(bench.orchestrator.resume(bench.runId, 'ask', { by: 'ann' })).toBe(true)
    expect(bench.orchestrator.resume(bench.runId, 'ask', { by: 'bob' })).toBe(false)
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual({ by: 'ann' })
  })

  test('checks what it is given by its schema', async () => {
    const bench = new RunBench(
      flow(async (ctx) => {
        const schema = z.object({ level: z.coerce.number() })
        const good = await ctx.step.suspend('good', { schema })
        const bad = await ctx.step
          .suspend('bad', { schema })
          .catch((error: unknown) => error instanceof SchemaValidationError && error.issues[0]?.path)
        return [good.level, bad]
      }),
    )
    bench.claim()
    await bench.finish()
    bench.orchestrator.resume(bench.runId, 'good', { level: '5' })
    bench.claim()
    await bench.finish()
    bench.orchestrator.resume(bench.runId, 'bad', { level: 'x' })
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([5, '/level'])
  })

  test('throws WaitTimeoutError after a day, where nothing else is said', async () => {
    const bench = new RunBench(
      flow(
        async (ctx) =>
          await ctx.step
            .suspend('ask')
            .catch((error: unknown) => error instanceof WaitTimeoutError && [error.topic, error.timeoutMs]),
      ),
    )
    bench.claim()
    await bench.finish()
    bench.now += 24 * 3_600_000
    bench.orchestrator.answerAll()
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toEqual([null, 24 * 3_600_000])
  })
})

test('a race of a child, a person and a time takes the same branch on every replay', async () => {
  const won: unknown[] = []
  const bench = new RunBench(
    flow(async (ctx) => {
      const winner = await Promise.race([
        ctx.step.invokeAndWait('child', 'report').then(() => 'child'),
        ctx.step.suspend('ask').then(() => 'person'),
        ctx.step.sleep('nap', 60).then(() => 'time'),
      ])
      won.push(winner)
      await ctx.step.sleep('more', 60)
      return winner
    }),
  )
  bench.claim()
  await bench.finish()
  bench.orchestrator.resume(bench.runId, 'ask', null)
  bench.orchestrator.endChild(bench.runId, 'child', { output: 1 })
  for (let life = 0; life < 3 && bench.run.status !== 'completed'; life += 1) {
    bench.claim()
    await bench.finish()
    bench.now += 60_000
    bench.orchestrator.answerAll()
  }
  expect(bench.result()).toBe('person')
  expect(new Set(won)).toEqual(new Set(['person']))
  expect(won.length).toBeGreaterThan(1)
})

describe('what is malformed is refused before anything is sent, with the step and the field', () => {
  const loose = (value: unknown): never => value as never
  test.each<[string, (ctx: WorkflowContext) => Promise<unknown>, RegExp]>([
    ['a workflow', (ctx) => ctx.step.invoke('a', loose(undefined)), /step "a": workflow must be/],
    ['its id', (ctx) => ctx.step.invokeAndWait('a', 'no spaces'), /workflow must be .*not "no spaces"/],
    [
      'no JSON',
      (ctx) => ctx.step.invoke('a', 'report', { n: [1n] }),
      /step "a": input cannot be sent as JSON: input\/n\/0 is a bigint/,
    ],
    [
      'a timeout',
      (ctx) => ctx.step.suspend('a', { timeout: loose('soon') }),
      /step "a": timeout must be seconds/,
    ],
    ['a year', (ctx) => ctx.step.invokeAndWait('a', 'report', 1, { timeout: '400d' }), /at most 366 days/],
    [
      'the schema',
      (ctx) => ctx.step.invoke('a', report, loose({ day: 1 })),
      /the input of "report" does not pass its schema/,
    ],
  ])('%s', async (_name, step, message) => {
    const bench = new RunBench(
      flow(async (ctx) => await step(ctx).catch((error: unknown) => String(error))),
      { prompt: false },
    )
    bench.claim()
    await bench.rest(8)
    expect(bench.uncommitted.map(({ kind }) => kind)).toEqual(['complete'])
    await bench.finish()
    expect(bench.result()).toMatch(message)
  })

  test('input over its limit', async () => {
    const bench = new RunBench(
      flow(
        async (ctx) =>
          await ctx.step
            .invoke('a', 'report', 'x'.repeat(1024 * 1024))
            .catch((error: unknown) => (error as LimitExceededError).limit),
      ),
    )
    bench.claim()
    expect(await bench.finish()).toBe('completed')
    expect(bench.result()).toBe('runInputBytesMax')
  })
})
