import { appendFileSync } from 'node:fs'
import { Worker, workflow } from '@headrace/sdk'

/** The workflows of the benchmarks: three dependent steps, whose bodies do nothing. */
const throughput = workflow(
  { id: 'bench_throughput', triggerOnEvent: 'bench/throughput/**' },
  async (ctx) => {
    const first = await ctx.step.run('first', () => 1)
    const second = await ctx.step.run('second', () => first + 1)
    return await ctx.step.run('third', () => second + 1)
  },
)

const journal = process.env['HEADRACE_TEST_JOURNAL'] ?? ''

const latency = workflow(
  { id: 'bench_latency', triggerOnEvent: 'bench/latency/**' },
  async (ctx, { events }) => {
    const first = await ctx.step.run('first', () => {
      const at = performance.timeOrigin + performance.now()
      appendFileSync(journal, `${events[0].partition}/${events[0].sequenceId} ${at}\n`)
      return 1
    })
    const second = await ctx.step.run('second', () => first + 1)
    return await ctx.step.run('third', () => second + 1)
  },
)

const waits = workflow({ id: 'bench_waits', triggerOnEvent: 'bench/asks/**' }, async (ctx, { events }) => {
  const { n } = events[0].data as { n: number }
  await ctx.step.waitForEvent('answer', { topic: `bench_answers/${n}`, timeout: '1h' })
  return await ctx.step.run('after', () => {
    appendFileSync(journal, `answer/${n} ${performance.timeOrigin + performance.now()}\n`)
  })
})

const concurrency = process.env['HEADRACE_TEST_CONCURRENCY']
await new Worker({
  workflows: [throughput, latency, waits],
  ...(concurrency === undefined ? {} : { concurrency: Number(concurrency) }),
}).run()
