import { defineEvent, NonRetryableError, workflow } from '@headrace/sdk'
import { z } from 'zod'

/** A kind of event and the shape of its data: checked before a handler starts, typed inside it. */
export const orderCreated = defineEvent('orders/created', {
  schema: z.object({ order_id: z.string(), total: z.number() }),
})

export const userSignedUp = defineEvent('users/signup', {
  schema: z.object({ user_id: z.string(), email: z.email() }),
})

/** Started by every event on orders/created. Each step is stored before the next one starts. */
export const onOrderCreated = workflow(
  { id: 'on_order_created', triggerOnEvent: orderCreated },
  async (ctx, { events }) => {
    const order = events[0].data
    ctx.log.info('an order came in', { order_id: order.order_id, sequence_id: events[0].sequenceId })

    const reservation = await ctx.step.uuid('reservation_id')
    const charge = await ctx.step.run('charge', () => chargeCard(order.order_id, order.total), {
      retries: { maxAttempts: 5, initialDelay: '200ms' },
    })
    await ctx.step.run('confirm', () => sendMail(`order ${order.order_id} is confirmed`))

    return { order_id: order.order_id, reservation, charge: charge.id }
  },
)

/** Started by every event on users/signup. */
export const onUserSignup = workflow(
  { id: 'on_user_signup', triggerOnEvent: userSignedUp },
  async (ctx, { events }) => {
    const user = events[0].data
    const joined = await ctx.step.now('joined_at')
    await ctx.step.run('welcome', () => sendMail(`welcome, ${user.email}`))
    return { user_id: user.user_id, joined_at: joined.toISOString() }
  },
)

/** Up to ten events of data/updates make one run; what has come within 30 seconds of the first is enough. */
export const batchProcessor = workflow(
  { id: 'batch_processor', triggerOnEvent: 'data/updates', batchSize: 10, batchTimeoutSeconds: 30 },
  async (ctx, { events }) => {
    ctx.log.info('a batch came in', { events: events.length })
    const total = await ctx.step.run('sum', () => events.reduce((sum, event) => sum + valueOf(event.data), 0))
    await ctx.step.run('store', () => storeTotal(events[0].sequenceId, total))
    return { processed: events.length, total }
  },
)

/** Without a schema, data is `unknown`: look before you use it. */
function valueOf(data: unknown): number {
  if (typeof data === 'object' && data !== null && 'value' in data && typeof data.value === 'number')
    return data.value
  return 0
}

// What follows stands for the world outside: a payment provider, a mail server, a database.

async function chargeCard(orderId: string, total: number): Promise<{ id: string; total: number }> {
  // No further attempt makes a negative total right, so none is made.
  if (total < 0) throw new NonRetryableError(`order ${orderId} has a negative total`)
  return await Promise.resolve({ id: `charge-${orderId}`, total })
}

async function sendMail(text: string): Promise<{ sent: string }> {
  return await Promise.resolve({ sent: text })
}

async function storeTotal(id: number, total: number): Promise<{ id: number; total: number }> {
  return await Promise.resolve({ id, total })
}
