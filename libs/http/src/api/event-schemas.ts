import {
  bindingRuleSchema,
  limits,
  type Problem,
  type PublishedEvent,
  type WireDryRun,
  type WireEvent,
  type WireExplanation,
  type WireStream,
} from '@headrace/schemas'
import { z } from 'zod'
import { named, anyJson, time, count, fieldFault, text, textOrNull, headers, problem } from './wire-schema.ts'

const publishedFields = {
  id: text,
  topic: text,
  stream: text,
  partition: count,
  sequence_id: count,
  created_at: time,
}
const published = named<PublishedEvent>('PublishedEvent', z.object(publishedFields))

const refused = named<{ id?: string; problem: Problem }>(
  'RefusedEvent',
  z.object({ id: text.exactOptional(), problem }),
)

const warnings = z.array(fieldFault).max(limits.problemErrorsMax)

export const publishedEvents = z.object({
  events: z.array(z.union([published, refused])),
  warnings,
})

export const publishedLine = z.union([
  z.object({ line: z.int().min(1), ...publishedFields, warnings: warnings.exactOptional() }),
  z.object({ line: z.int().min(1).exactOptional(), id: text.exactOptional(), problem }),
])
export const triggerStatus = z.enum(['live', 'paused', 'backpressured', 'stopped', 'retired'])

export const dryRun = named<WireDryRun>(
  'DryRun',
  z.object({
    dry_run: z.literal(true),
    events: z.array(
      z.object({
        id: textOrNull,
        topic: text,
        stream: text,
        triggers: z.array(
          z.object({
            trigger: text,
            workflow: text,
            status: triggerStatus,
            outcome: z.enum(['run', 'filtered']),
            detail: textOrNull,
          }),
        ),
      }),
    ),
    warnings,
  }),
)

const eventFields = {
  ...publishedFields,
  source: text,
  event_type: textOrNull,
  data: anyJson,
  key: textOrNull,
  headers_base64: headers.exactOptional(),
  key_base64: textOrNull.exactOptional(),
  tombstone: z.boolean().exactOptional(),
}
const event = named<WireEvent>('Event', z.object({ ...eventFields, headers: headers.exactOptional() }))

export const historyEvent = named<WireEvent & { headers: Record<string, string> }>(
  'HistoryEvent',
  z.object({ ...eventFields, headers }),
)

export const explanation = named<WireExplanation>(
  'Explanation',
  z.object({
    event: event.nullable(),
    unreadable: z.object({ reason: text, detail: text }).nullable(),
    triggers: z.array(
      z.object({
        trigger: text,
        outcome: z.enum([
          'run',
          'open_window',
          'no_match',
          'filtered',
          'repeat',
          'before_cursor',
          'not_read_yet',
          'dead_letter',
        ]),
        run_id: textOrNull,
        detail: textOrNull,
      }),
    ),
    waits: z.array(z.object({ run_id: z.uuid(), key: text })),
  }),
)
const offsets = z.record(text, count)

export const stream = named<WireStream>(
  'Stream',
  z.object({
    name: text,
    kafka_topic: text,
    partitions: count,
    begin: offsets,
    end: offsets,
    retention_ms: z.int().nullable(),
    triggers: z.array(text).nullable(),
    waited: z.boolean().nullable(),
    external: bindingRuleSchema.nullable(),
    status: z.enum(['ok', 'recreated', 'truncated', 'paused', 'unreachable']),
  }),
)
export const waitedStream = z.object({ stream: text, projected_from: time }).meta({ id: 'WaitedStream' })
