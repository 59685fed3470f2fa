import type { PutEventType } from '@headrace/schemas'
import type { EventTypeRecord } from '@headrace/store'
import { expect, test } from 'vitest'
import { isTaken, planEventType, type Registering } from './plan-event-type.ts'

const body: PutEventType = {
  pattern: 'orders/{id}',
  schema_type: 'json',
  schema: { type: 'object', title: 'order' },
  mode: 'enforce',
  content_model: 'closed',
}
const here: Registering = { subject: 's', owned: true, isOwnUrl: (url) => url.startsWith('http://here/') }
const registered = { id: 7, version: 2, url: 'http://here/subjects/s/versions/2' }
const stored: EventTypeRecord = {
  name: 'orders._',
  pattern: 'orders/*',
  schemaType: 'json',
  schema: { title: 'order', type: 'object' },
  mode: 'enforce',
  contentModel: 'closed',
  subject: 's',
  registered,
  revision: 3,
  createdAt: 0,
  updatedAt: 0,
}

test('the same content is the same, whatever the order of its fields and the names of its parameters', () => {
  expect(planEventType(body, stored, here)).toMatchObject({ isSame: true, register: null })
  expect(isTaken(body, stored)).toBe(false)
  expect(isTaken({ ...body, pattern: 'orders/_' }, stored)).toBe(true)
})

test('another mode is written without asking the registry; another schema, model or subject is registered', () => {
  expect(planEventType({ ...body, mode: 'warn' }, stored, here)).toMatchObject({
    isSame: false,
    register: null,
    write: { mode: 'warn', registered, before: 3 },
  })
  expect(planEventType({ ...body, schema: {} }, stored, here)).toMatchObject({
    register: { subject: 's', schema: '{}', level: 'BACKWARD', owned: true },
    write: { registered: null },
  })
  expect(planEventType({ ...body, content_model: 'open' }, stored, here).register?.level).toBe('NONE')
  expect(planEventType({ ...body, subject: 'other' }, stored, here).register).toMatchObject({
    subject: 'other',
    owned: false,
  })
})

test('what another registry has, or none, is registered where there is one, and stays as it is where there is none', () => {
  const elsewhere = { ...stored, registered: { ...registered, url: 'http://there/subjects/s/versions/2' } }
  expect(planEventType(body, elsewhere, here)).toMatchObject({ isSame: false, register: { subject: 's' } })
  expect(planEventType(body, { ...stored, registered: null }, here).isSame).toBe(false)
  const nowhere = { ...here, isOwnUrl: null }
  expect(planEventType(body, elsewhere, nowhere).isSame).toBe(true)
  expect(planEventType(body, null, nowhere)).toMatchObject({ register: null, write: { before: null } })
})
