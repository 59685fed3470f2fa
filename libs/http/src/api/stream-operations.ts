import { bindingRuleSchema, bindStreamSchema } from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operations } from './operation.ts'
import { page } from './parameters.ts'
import { stream, waitedStream } from './event-schemas.ts'
import { listOf } from './wire-schema.ts'

const onKafka = ['kafka_unavailable', 'refused_by_kafka'] as const
const binding = z.object({ stream: z.string(), revision: z.int(), ...bindingRuleSchema.shape })
const putStream = z.strictObject({
  partitions: z.int().min(1).max(1_000).optional(),
  retention: z
    .union([z.string(), z.number()])
    .optional()
    .describe('Seconds, or a duration such as `7d`; 1 minute to 10 years'),
})

export const streamOperations: Operations = {
  'GET /v1/streams': {
    id: 'listStreams',
    tag: 'streams',
    summary: 'All streams',
    scope: 'events:read',
    apps: ['gateway'],
    query: page,
    answers: { 200: answer('By name', listOf(stream)) },
    problems: onKafka,
  },
  'GET /v1/streams/{stream}': {
    id: 'getStream',
    tag: 'streams',
    summary: 'One stream',
    scope: 'events:read',
    apps: ['gateway'],
    answers: { 200: answer('The stream', stream) },
    problems: ['stream_not_found', ...onKafka],
  },
  'PUT /v1/streams/{stream}': {
    id: 'putStream',
    tag: 'streams',
    summary: 'Make a stream, or change it',
    scope: 'admin',
    apps: ['gateway'],
    body: { ...json(z.union([putStream, bindStreamSchema])), isOptional: true },
    answers: { 200: answer('It was changed', stream), 201: answer('It was made', stream) },
    problems: [
      'stream_not_found',
      'stream_exists',
      'invalid_topic',
      'too_many_streams',
      'kafka_topic_not_found',
      'kafka_topic_taken',
      'orchestrator_unavailable',
      'postgres_unavailable',
      ...onKafka,
    ],
  },
  'DELETE /v1/streams/{stream}': {
    id: 'deleteStream',
    tag: 'streams',
    summary: 'Remove a stream with its events, for good, or the binding of an external one',
    scope: 'admin',
    apps: ['gateway'],
    query: { confirm: z.string().describe('The name of the stream') },
    answers: { 204: { description: 'It is gone' } },
    problems: [
      'stream_not_found',
      'stream_exists',
      'orchestrator_unavailable',
      'postgres_unavailable',
      ...onKafka,
    ],
  },
  'PUT /v1/streams/{stream}/binding': {
    id: 'bindStream',
    tag: 'internal',
    summary: 'What the gateway asks for of an external stream',
    scope: 'admin',
    apps: ['orchestrator'],
    body: json(bindStreamSchema),
    answers: { 200: answer('It was changed', binding), 201: answer('It is new', binding) },
    problems: ['invalid_topic', 'stream_exists', 'kafka_topic_not_found', 'kafka_topic_taken', ...onKafka],
  },
  'DELETE /v1/streams/{stream}/binding': {
    id: 'unbindStream',
    tag: 'internal',
    summary: 'End a binding',
    scope: 'admin',
    apps: ['orchestrator'],
    answers: { 200: answer('It has ended', z.object({ stream: z.string(), revision: z.int() })) },
    problems: ['stream_not_found', ...onKafka],
  },
  'GET /v1/waited-streams': {
    id: 'listWaitedStreams',
    tag: 'streams',
    summary: 'The streams that runs have waited on',
    scope: 'runs:read',
    apps: ['orchestrator'],
    answers: { 200: answer('By name', listOf(waitedStream)) },
  },
}
