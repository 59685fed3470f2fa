import { deadLetterStatuses, decideDeadLetterSchema } from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operation, type Operations } from './operation.ts'
import { page } from './parameters.ts'
import { deadLetter, queue, status, wholeDeadLetter, worker } from './operator-schemas.ts'
import { listOf } from './wire-schema.ts'

const apps = ['orchestrator'] as const
const read = { scope: 'runs:read', apps } as const

const decide = (id: string, summary: string, problems: Operation['problems'] = []): Operation => ({
  id,
  tag: 'dead letters',
  summary,
  scope: 'operate',
  apps,
  body: { ...json(decideDeadLetterSchema), isOptional: true },
  answers: { 200: answer('The dead letter', deadLetter) },
  problems: ['dead_letter_not_found', 'dead_letter_decided', 'kafka_unavailable', ...problems],
})

export const operatorOperations: Operations = {
  'GET /v1/dead-letters': {
    ...read,
    id: 'listDeadLetters',
    tag: 'dead letters',
    summary: 'What could not go on, the newest first',
    query: {
      reason: z.string().optional(),
      trigger: z.string().optional(),
      status: z.enum(deadLetterStatuses).optional(),
      ...page,
    },
    answers: { 200: answer('A page', listOf(deadLetter).extend({ scanned: z.int() })) },
    problems: ['overloaded', 'kafka_unavailable'],
  },
  'GET /v1/dead-letters/{id}': {
    ...read,
    id: 'getDeadLetter',
    tag: 'dead letters',
    summary: 'One dead letter with what was set aside',
    answers: { 200: answer('The dead letter', wholeDeadLetter) },
    problems: ['dead_letter_not_found', 'kafka_unavailable'],
  },
  'POST /v1/dead-letters/{id}/redrive': decide('redriveDeadLetter', 'Let what is inside run, once', [
    'not_redrivable',
    'trigger_not_found',
    'workflow_not_found',
  ]),
  'POST /v1/dead-letters/{id}/discard': decide('discardDeadLetter', 'Close it without running anything'),
  'GET /v1/workers': {
    ...read,
    id: 'listWorkers',
    tag: 'workers',
    summary: 'Workers, the newest first',
    query: page,
    answers: { 200: answer('A page', listOf(worker)) },
  },
  'GET /v1/queues': {
    ...read,
    id: 'listQueues',
    tag: 'workers',
    summary: 'Queues',
    query: page,
    answers: { 200: answer('A page', listOf(queue)) },
  },
  'GET /v1/queues/{id}': {
    ...read,
    id: 'getQueue',
    tag: 'workers',
    summary: 'One queue',
    answers: { 200: answer('The queue', queue) },
    problems: ['queue_not_found'],
  },
  'GET /v1/status': {
    id: 'getStatus',
    tag: 'status',
    summary: 'What is up',
    scope: 'public',
    apps: ['gateway', 'orchestrator'],
    answers: { 200: answer('Everything is', status), 503: answer('Something is not', status) },
  },
  'GET /openapi.json': {
    id: 'getOpenApi',
    tag: 'status',
    summary: 'This document',
    scope: 'public',
    apps: ['gateway'],
    answers: { 200: answer('OpenAPI 3.1', z.looseObject({ openapi: z.string() })) },
  },
  'GET /docs': {
    id: 'getDocs',
    tag: 'status',
    summary: 'This document, to read and to try',
    scope: 'public',
    apps: ['gateway'],
    answers: { 200: { description: 'A page', type: 'text/html', schema: z.string() } },
  },
  'GET /docs/{file}': {
    id: 'getDocsFile',
    tag: 'status',
    summary: 'What that page loads',
    scope: 'public',
    apps: ['gateway'],
    answers: { 200: { description: 'A script or a style sheet', type: 'text/*', schema: z.string() } },
  },
}
