import { defineEvent, WaitTimeoutError, workflow } from '@headrace/sdk'
import { z } from 'zod'
import { orderCreated } from './workflows.ts'

/** `{order}` and `{id}` are part of the topic: a wait, or a publish, names them as `params`. */
export const approval = defineEvent('approvals/{order}', { schema: z.object({ approved: z.boolean() }) })
const request = defineEvent('requests/{id}', {
  schema: z.object({ action: z.string() }),
  eventType: 'request',
})
export const response = defineEvent('responses/{id}', {
  schema: z.object({ result: z.string() }),
  eventType: 'response',
})

/** Started through the API. Publishes an event, which starts on_order_created. */
export const checkout = workflow(
  { id: 'checkout', input: z.object({ order_id: z.string(), total: z.number() }) },
  async (ctx, order) => {
    const published = await ctx.step.publishEvent('publish_order', orderCreated, {
      data: order,
      eventType: 'created',
    })
    return { sequence_id: published.sequenceId }
  },
)

/** Waits up to an hour for somebody's word on approvals/order-123. Meanwhile no worker holds the run. */
export const approveOrder = workflow(
  { id: 'approve_order', input: z.object({ order_id: z.string() }) },
  async (ctx, { order_id }) => {
    try {
      const event = await ctx.step.waitForEvent('wait_for_approval', approval, {
        params: { order: order_id },
        timeout: 3600,
      })
      ctx.log.info('somebody answered', { topic: event.topic, event_type: event.eventType })
      return { order_id, approved: event.data.approved }
    } catch (error) {
      if (!(error instanceof WaitTimeoutError)) throw error
      return { order_id, approved: false }
    }
  },
)

/** Asks a question on a topic of its own, and waits five minutes for the answer. It may be quicker than the wait. */
export const requester = workflow(
  { id: 'requester', input: z.object({ action: z.string() }) },
  async (ctx, { action }) => {
    const id = await ctx.step.uuid('request_id')
    await ctx.step.publishEvent('send_request', request, { params: { id }, data: { action } })
    const { data } = await ctx.step.waitForEvent('wait_response', response, { params: { id }, timeout: 300 })
    return data
  },
)

/** Answers each request, on the topic that its requester waits for. */
export const responder = workflow(
  { id: 'responder', triggerOnEvent: request },
  async (ctx, { events: [event] }) => {
    const [, id = ''] = event.topic.split('/')
    const result = await ctx.step.run('work', () => `${event.data.action} is done`)
    await ctx.step.publishEvent('send_response', response, { params: { id }, data: { result } })
  },
)
