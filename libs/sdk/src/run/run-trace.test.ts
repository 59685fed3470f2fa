import { type Span, trace, type Tracer } from '@opentelemetry/api'
import { afterEach, describe, expect, test } from 'vitest'
import { RunBench } from '../../test/run-bench.ts'
import { defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'

const told = defineEvent('orders/paid')

const broken = (): never => {
  throw new Error('the processor is broken')
}

/** Spans that count how many are open, and of which the named methods throw. */
function spans(faulty: ReadonlySet<string>) {
  const open = new Set<string>()
  const startSpan: Tracer['startSpan'] = (name) => {
    if (faulty.has('startSpan')) broken()
    open.add(name)
    const span: Span = {
      spanContext: () => ({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 1 }),
      isRecording: () => true,
      setAttribute: () => (faulty.has('setAttribute') ? broken() : span),
      setAttributes: () => span,
      addEvent: () => (faulty.has('addEvent') ? broken() : span),
      addLink: () => span,
      addLinks: () => span,
      setStatus: () => span,
      updateName: () => span,
      recordException: () => (faulty.has('recordException') ? broken() : undefined),
      end: () => {
        if (faulty.has('end')) broken()
        open.delete(name)
      },
    }
    return span
  }
  const tracer: Tracer = { startSpan, startActiveSpan: broken }
  trace.setGlobalTracerProvider({ getTracer: () => tracer })
  return open
}

afterEach(() => trace.disable())

describe('a program whose OpenTelemetry throws', () => {
  test.each([['startSpan'], ['end'], ['setAttribute'], ['addEvent'], ['recordException']])(
    'in %s has its runs done all the same, and is told once a run',
    async (method) => {
      spans(new Set([method]))
      let attempts = 0
      const bench = new RunBench(
        workflow({ id: 'flow', retries: { maxAttempts: 2 } }, async (ctx) => {
          await ctx.step.run('fails', () => broken()).catch(() => 'caught')
          return await ctx.step.run('charge', () => {
            attempts += 1
            return 'charged'
          })
        }),
      )
      bench.claim()
      expect(await bench.finish()).toBe('completed')
      expect([attempts, bench.result()]).toEqual([1, 'charged'])
      expect(bench.lines.filter(({ message }) => message.startsWith('OpenTelemetry threw'))).toHaveLength(1)
    },
  )

  test('has a run that fails told as failed', async () => {
    spans(new Set(['recordException', 'end']))
    const bench = new RunBench(workflow({ id: 'flow', retries: { maxAttempts: 1 } }, () => broken()))
    bench.claim()
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({ message: 'the processor is broken' })
  })
})

test('the span of a publish ends with the run that another worker took meanwhile', async () => {
  const open = spans(new Set())
  const bench = new RunBench(
    workflow({ id: 'flow' }, async (ctx) => await ctx.step.publishEvent('tell', told, { data: {} })),
    { prompt: false },
  )
  bench.claim()
  await bench.rest()
  expect([...open]).toEqual(['headrace.run', 'headrace.step'])
  bench.orchestrator.recover(bench.runId)
  expect(await bench.finish()).toBe('lost')
  expect([...open]).toEqual([])
})
