import {
  createKeySchema,
  rotateKeySchema,
  type WireAudit,
  type WireKey,
  type WireNewKey,
} from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operations } from './operation.ts'
import { page } from './parameters.ts'
import { listOf, named, text, textOrNull, time, timeOrNull } from './wire-schema.ts'

const keyFields = {
  id: text,
  name: text,
  environment: text,
  scopes: z.array(text),
  rate_limit: z.object({ events_per_second: z.int() }).nullable(),
  created_at: time,
  expires_at: timeOrNull,
  revoked_at: timeOrNull,
  previous_until: timeOrNull,
}
const key = named<WireKey>('Key', z.object(keyFields))
const newKey = named<WireNewKey>(
  'NewKey',
  z.object({ ...keyFields, key: text.describe('The key itself; it is shown this once') }),
)
const entry = named<WireAudit>(
  'AuditEntry',
  z.object({
    id: text,
    at: time,
    key_id: textOrNull,
    action: text,
    method: text,
    path: text,
    request_id: textOrNull,
    before: z.unknown(),
    after: z.unknown(),
  }),
)
const admin = { tag: 'keys', scope: 'admin', apps: ['orchestrator'] } as const

export const keyOperations: Operations = {
  'GET /v1/keys': {
    ...admin,
    id: 'listKeys',
    summary: 'API keys, also revoked ones, without their secrets',
    query: page,
    answers: { 200: answer('By id', listOf(key)) },
  },
  'POST /v1/keys': {
    ...admin,
    id: 'createKey',
    summary: 'Make an API key',
    body: json(createKeySchema.meta({ id: 'CreateKey' })),
    answers: { 201: answer('The key, this once', newKey) },
    problems: ['key_exists', 'too_many_keys'],
  },
  'GET /v1/keys/{id}': {
    ...admin,
    id: 'getKey',
    summary: 'One API key, without its secret',
    answers: { 200: answer('The key', key) },
    problems: ['key_not_found'],
  },
  'DELETE /v1/keys/{id}': {
    ...admin,
    id: 'revokeKey',
    summary: 'Revoke an API key, for good',
    answers: { 200: answer('The key, revoked', key) },
    problems: ['key_not_found'],
  },
  'POST /v1/keys/{id}/rotate': {
    ...admin,
    id: 'rotateKey',
    summary: 'Give an API key another secret',
    body: { ...json(rotateKeySchema), isOptional: true },
    answers: { 200: answer('The key, this once', newKey) },
    problems: ['key_not_found'],
  },
  'GET /v1/audit': {
    ...admin,
    id: 'listAudit',
    summary: 'Who changed what, the newest first',
    query: {
      key_id: z.string().optional().describe('Changes that came with this API key'),
      path: z.string().optional().describe('Changes at this path, such as `/v1/triggers/report/pause`'),
      ...page,
    },
    answers: { 200: answer('A page', listOf(entry)) },
  },
}
