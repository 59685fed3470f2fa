import { WaitTimeoutError, workflow } from '@headrace/sdk'
import { passGate } from './gate.ts'
import type { Witness } from './witness.ts'

/** What an event that starts one of these workflows says. */
interface Asked {
  /** The topic to wait on. */
  on: string
  timeout?: number
  if?: string
  count?: number
}

/** Workflows that wait, for the process tests. */
export const waitingWorkflows = ({ note, body }: Witness, gate: string) => [
  /** One step, one wait, one step. */
  workflow({ id: 'asks', triggerOnEvent: 'asks/**' }, async (ctx, input) => {
    note('handler', ctx, input)
    const asked = input.events[0].data as Asked
    await ctx.step.run('before', async () => await body(ctx, input, 'before'))
    const answer = await ctx.step.waitForEvent('answer', {
      topic: asked.on,
      timeout: asked.timeout ?? '1h',
      ...(asked.if === undefined ? {} : { if: asked.if }),
    })
    await ctx.step.run('after', async () => await body(ctx, input, 'after'))
    return { topic: answer.topic, data: answer.data, sequence_id: answer.sequenceId }
  }),

  /** Comes to its wait only when the test opens the gate. */
  workflow({ id: 'late', triggerOnEvent: 'late/**' }, async (ctx, input) => {
    const asked = input.events[0].data as Asked
    await ctx.step.run('held', async () => {
      await body(ctx, input, 'held')
      await passGate(gate)
    })
    const answer = await ctx.step.waitForEvent('answer', { topic: asked.on, timeout: '1h' })
    return { data: answer.data }
  }),

  /** Waits so many times on one topic, with a step after each. */
  workflow({ id: 'loops', triggerOnEvent: 'loops/**' }, async (ctx, input) => {
    note('handler', ctx, input)
    const { on, count = 10 } = input.events[0].data as Asked
    const taken: unknown[] = []
    for (let n = 0; n < count; n += 1) {
      const piece = await ctx.step.waitForEvent(`piece_${n}`, { topic: on, timeout: '1h' })
      taken.push((piece.data as { n: number }).n)
      await ctx.step.run(`took_${n}`, async () => await body(ctx, input, `took_${n}`))
    }
    return taken
  }),

  /** Waits, until an event of the same order cancels it; one run of a customer at a time. */
  workflow(
    {
      id: 'ships',
      triggerOnEvent: 'ships/created',
      concurrency: { limit: 1, key: 'event.data.customer' },
      cancelOn: [{ event: 'ships/cancelled', if: 'event.data.order == trigger.data.order' }],
    },
    async (ctx, { events }) =>
      (await ctx.step.waitForEvent('paid', { topic: `paid/${(events[0].data as { order: string }).order}` }))
        .data,
  ),

  /** Nothing but a wait, for tests with thousands of them. */
  workflow({ id: 'parks', triggerOnEvent: 'parks/**' }, async (ctx, { events }) => {
    const { on } = events[0].data as Asked
    const answer = await ctx.step.waitForEvent('answer', { topic: on, timeout: '1h' })
    return { on, answer: (answer.data as { answer: number }).answer }
  }),

  workflow({ id: 'hurries', triggerOnEvent: 'hurries/**' }, async (ctx, input) => {
    const { on, timeout = 1 } = input.events[0].data as Asked
    try {
      const answer = await ctx.step.waitForEvent('answer', { topic: on, timeout })
      return { answer: answer.data }
    } catch (error) {
      if (!(error instanceof WaitTimeoutError)) throw error
      return { timedOut: error.topic, timeoutMs: error.timeoutMs }
    }
  }),

  /** Starts two runs of another workflow, and waits for one of them. */
  workflow({ id: 'delegates', triggerOnEvent: 'delegates/**' }, async (ctx, { events }) => {
    const aside = await ctx.step.invoke('aside', 'delegated', { for: 'nobody' })
    const answer = await ctx.step.invokeAndWait('child', 'delegated', { for: events[0].topic })
    return { aside: aside.id, answer }
  }),
  /** Waits for somebody. */
  workflow({ id: 'delegated' }, async (ctx, input) => ({
    input,
    said: await ctx.step.suspend('ask/somebody', { timeout: '1h' }),
  })),

  /** Publishes from inside; another workflow follows what it published. */
  workflow({ id: 'publishes', triggerOnEvent: 'publishes/**' }, async (ctx, input) => {
    const { on } = input.events[0].data as Asked
    const sent = await ctx.step.publishEvent('send', {
      topic: on,
      data: { from: ctx.run.id },
      eventType: 'sent',
    })
    return { id: sent.id, sequence_id: sent.sequenceId }
  }),
  workflow({ id: 'follows', triggerOnEvent: 'published/**' }, async (ctx, input) => {
    note('handler', ctx, input)
    return await ctx.step.run('it', async () => await body(ctx, input, 'it'))
  }),
]
