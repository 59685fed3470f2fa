import type { RegisterReply, RegisterRequest } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { ApiError } from '../errors/api-error.ts'
import { defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'
import type { HttpExchange } from './http-exchange.ts'
import { register } from './registration.ts'
import { workerSettings } from './settings.ts'

const order = defineEvent('orders/created', { schema: z.object({ total: z.number() }) })
const flow = workflow({ id: 'flow', triggerOnEvent: order }, () => 1)

/** A registration that is answered so; what it said, and what it logged. `replaces`: it gives up after the first answer. */
async function registration(status: number, answer: object, replaces: string | null = null) {
  const giveUp = new AbortController()
  const asked: RegisterRequest[] = []
  const logged: { fields: object; message: string }[] = []
  const log = {
    debug: () => {},
    info: () => {},
    warn: (fields: object, message: string) => {
      logged.push({ fields, message })
      if (replaces !== null) giveUp.abort()
    },
    error: () => {},
  }
  const post: HttpExchange['post'] = async (_url, body) => {
    asked.push(JSON.parse(body) as RegisterRequest)
    return await Promise.resolve({ status, retryAfterMs: null, text: JSON.stringify(answer) })
  }
  const settings = workerSettings({ workflows: [flow], url: 'http://gateway', app: 'shop' }, {})
  const reply = await register({
    settings,
    exchange: { post } as unknown as HttpExchange,
    log,
    signal: giveUp.signal,
    replaces,
  }).catch((error: unknown) => error)
  return { asked, logged, reply }
}

test('a registration says which event types there are, and warnings of its answer are logged', async () => {
  const warnings: RegisterReply['warnings'] = [
    { name: 'orders.created', code: 'event_type_not_registered', detail: 'it is not stored' },
  ]
  const { asked, logged, reply } = await registration(200, { worker_id: 'w', warnings })
  expect(asked[0]?.event_types).toMatchObject([
    { pattern: 'orders/created', schema_type: 'json', mode: 'enforce' },
  ])
  expect(reply).toMatchObject({ worker_id: 'w' })
  expect(logged).toMatchObject([
    {
      fields: { event_type: 'orders.created', code: 'event_type_not_registered' },
      message: 'it is not stored',
    },
  ])
})

test('a registration that is refused for its event types ends the worker, with the registry’s own reason', async () => {
  const errors = [
    {
      pointer: '/event_types/0/schema',
      code: 'schema_incompatible',
      detail: 'PROPERTY_REMOVED at #/properties/total',
    },
  ]
  const { reply } = await registration(422, {
    code: 'schema_incompatible',
    detail: `orders.created: ${errors[0]?.detail}`,
    errors,
  })
  expect(reply).toBeInstanceOf(ApiError)
  expect(reply).toMatchObject({
    code: 'schema_incompatible',
    status: 422,
    retryable: false,
    errors,
    message: expect.stringContaining('PROPERTY_REMOVED at #/properties/total'),
  })
})

test('a key that is refused ends a worker that starts, and not one that has worked with it', async () => {
  const answer = { code: 'unauthorized', detail: 'it was revoked' }
  expect((await registration(401, answer)).reply).toBeInstanceOf(ApiError)
  const { reply, logged } = await registration(401, answer, 'before')
  expect([reply, logged]).toMatchObject([null, [{ fields: { event: 'worker.key_refused' } }]])
  expect(JSON.stringify(logged)).toContain('it was revoked')
})
