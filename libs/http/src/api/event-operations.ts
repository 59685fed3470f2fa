import { cloudEventSchema, limits, publishEventSchema } from '@headrace/schemas'
import { z } from 'zod'
import { answer, type Operations } from './operation.ts'
import { page, timeText } from './parameters.ts'
import { dryRun, explanation, historyEvent, publishedEvents, publishedLine } from './event-schemas.ts'

const wanted = {
  topic: z.string().optional().describe('Events of this topic'),
  pattern: z.string().optional().describe('Events whose topic matches; `orders/*`, `orders/**`'),
  stream: z.string().optional().describe('All events of this stream'),
  key: z.string().optional().describe('Events that were given this key'),
  event_type: z.string().optional(),
}
const cloudEvent = cloudEventSchema.meta({ id: 'CloudEvent', description: 'CloudEvents 1.0 in JSON' })
const newEvent = publishEventSchema.meta({ id: 'NewEvent' })
const events = z.strictObject({ events: z.array(newEvent).min(1).max(limits.requestEventsMax) })
const position = {
  tag: 'events',
  scope: 'events:read',
  problems: ['stream_not_found', 'event_not_found', 'kafka_unavailable', 'refused_by_kafka'],
} as const

export const eventOperations: Operations = {
  'POST /v1/events': {
    id: 'publishEvents',
    tag: 'events',
    summary: 'Publish events',
    scope: 'events:write',
    apps: ['gateway'],
    query: {
      dry_run: z
        .enum(['true', 'false'])
        .optional()
        .describe('Names the triggers that would match; writes nothing'),
    },
    headers: {
      'Idempotency-Key': z
        .string()
        .max(limits.idempotencyKeyCharactersMax)
        .optional()
        .describe('Derives the ids of events that have none'),
      traceparent: z.string().optional().describe('W3C trace context'),
    },
    body: {
      formats: {
        'application/json': z.union([newEvent, events]),
        'application/x-ndjson': newEvent.describe('One event a line'),
        'application/cloudevents+json': cloudEvent,
        'application/cloudevents-batch+json': z.array(cloudEvent).max(limits.requestEventsMax),
      },
    },
    answers: {
      200: answer(
        'All are held by all in-sync replicas; of a dry run, what would be',
        z.union([publishedEvents, dryRun]),
      ),
      207: {
        ...answer('Some are; of NDJSON, always: an answer a line', publishedEvents),
        others: { 'application/x-ndjson': publishedLine },
      },
    },
    problems: [
      'invalid_topic',
      'reserved_source',
      'duplicate_event_id',
      'event_too_large',
      'too_many_events',
      'too_many_streams',
      'stream_autocreate_off',
      'stream_read_only',
      'overloaded',
      'kafka_unavailable',
      'unknown',
      'refused_by_kafka',
      'not_attempted',
      'orchestrator_unavailable',
    ],
  },
  'GET /v1/events': {
    id: 'listEvents',
    tag: 'events',
    summary: 'The events of a stream, page by page',
    scope: 'events:read',
    apps: ['gateway'],
    query: {
      ...wanted,
      from: timeText.optional().describe('Log time: the first inside'),
      to: timeText.optional().describe('Log time: the first outside'),
      ...page,
    },
    answers: {
      200: answer(
        'A page, which may be empty and still have a next one',
        z.object({
          data: z.array(historyEvent),
          next_cursor: z.string().nullable(),
          scanned: z.int(),
          unreadable: z.int(),
        }),
      ),
    },
    problems: ['stream_not_found', 'overloaded', 'kafka_unavailable', 'refused_by_kafka'],
  },
  'GET /v1/events/stream': {
    id: 'streamEvents',
    tag: 'events',
    summary: 'The events of a stream as they come',
    scope: 'events:read',
    apps: ['gateway'],
    query: { ...wanted, from: z.string().optional().describe('`latest`, `earliest` or a log time') },
    headers: { 'Last-Event-ID': z.string().optional().describe('Goes on behind it') },
    answers: {
      200: {
        description: 'Server-sent events, without an end',
        type: 'text/event-stream',
        schema: z.string(),
      },
    },
    problems: ['stream_not_found', 'invalid_header', 'overloaded', 'kafka_unavailable', 'refused_by_kafka'],
  },
  'GET /v1/events/{stream}/{partition}/{sequence_id}': {
    ...position,
    id: 'getEvent',
    summary: 'One event by its position',
    apps: ['gateway'],
    answers: { 200: answer('The event', historyEvent) },
  },
  'GET /v1/events/{stream}/{partition}/{sequence_id}/explain': {
    ...position,
    id: 'explainEvent',
    summary: 'What became of an event',
    apps: ['orchestrator'],
    answers: { 200: answer('Trigger by trigger', explanation) },
    problems: [...position.problems, 'overloaded'],
  },
}
