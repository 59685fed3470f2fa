import {
  deadLetterStatuses,
  type WireDeadLetter,
  type WireDeadLetterWhole,
  type WireQueue,
  type WireStatus,
  type WireWorker,
} from '@headrace/schemas'
import { z } from 'zod'
import { named, time, count, text, textOrNull, headers } from './wire-schema.ts'

const deadLetterFields = {
  id: text,
  reason: text,
  detail: text,
  source: z
    .object({ stream: textOrNull, kafka_topic: textOrNull, partition: count, offset: count })
    .nullable(),
  trigger: textOrNull,
  run_id: textOrNull,
  created_at: time,
  status: z.enum(deadLetterStatuses),
  decision: z
    .object({ at: time, reason: textOrNull, by: textOrNull, run_id: textOrNull, event_id: textOrNull })
    .nullable(),
}
export const deadLetter = named<WireDeadLetter>('DeadLetter', z.object(deadLetterFields))

export const wholeDeadLetter = named<WireDeadLetterWhole>(
  'WholeDeadLetter',
  z.object({
    ...deadLetterFields,
    value: textOrNull,
    value_base64: textOrNull,
    truncated: z.boolean(),
    headers,
  }),
)

export const worker = named<WireWorker>(
  'Worker',
  z.object({
    id: text,
    app: text,
    queue: text,
    build: text,
    host: text,
    sdk: text,
    status: z.enum(['live', 'draining', 'dead']),
    partitions: z.array(count),
    workflows: z.array(text),
    running: count,
    concurrency: count,
    started_at: time,
    last_heartbeat_at: time,
  }),
)

export const queue = named<WireQueue>(
  'Queue',
  z.object({
    id: text,
    queued: count,
    running: count,
    waiting: count,
    capacity: count,
    oldest_queued_seconds: z.number().nullable(),
  }),
)
const component = z.object({ status: z.enum(['ok', 'degraded', 'down', 'unknown']), instances: count })

export const status = named<WireStatus>(
  'Status',
  z.object({
    status: z.enum(['ok', 'degraded']),
    version: text,
    kafka: z.object({ status: z.enum(['ok', 'down']), brokers: z.array(text) }),
    postgres: z.object({ status: z.enum(['ok', 'down', 'unknown']) }),
    components: z.object({ gateway: component, trigger_service: component, orchestrator: component }),
  }),
)
