import {
  runStatuses,
  stepKinds,
  type WireBulk,
  type WireError,
  type WireRun,
  type WireStep,
  type WireTimelineEntry,
  type WireWait,
} from '@headrace/schemas'
import { z } from 'zod'
import { named, anyJson, time, count, text, textOrNull, timeOrNull } from './wire-schema.ts'

const runError = named<WireError>(
  'RunError',
  z.object({ name: text, message: text, code: textOrNull, stack: textOrNull, step_key: textOrNull }),
)
const waitKind = z.enum(['event', 'time', 'run', 'resume'])

const runFields = {
  id: z.uuid(),
  workflow: text,
  app: textOrNull,
  build: textOrNull,
  queue: text,
  status: z.enum(runStatuses),
  blocked_reason: textOrNull,
  epoch: count,
  attempt: count,
  unfit_builds: z.array(text),
  trigger: z
    .object({
      id: text,
      stream: text,
      partition: count,
      first_sequence_id: count,
      last_sequence_id: count,
      events: count,
    })
    .nullable(),
  input: anyJson.exactOptional(),
  output: anyJson.exactOptional(),
  error: runError.nullable(),
  tags: z.record(text, text),
  waiting_for: z.array(z.object({ key: text, kind: waitKind, topic: textOrNull, expires_at: timeOrNull })),
  parent_run_id: textOrNull,
  retry_of: textOrNull,
  worker_id: textOrNull,
  run_at: timeOrNull,
  expires_at: timeOrNull,
  traceparent: textOrNull,
  created_at: time,
  queued_at: timeOrNull,
  started_at: timeOrNull,
  finished_at: timeOrNull,
}
export const run = named<WireRun>('Run', z.object(runFields))

/** One that was there already. */
export const existingRun = named<WireRun & { existing?: true }>(
  'ExistingRun',
  z.object({ ...runFields, existing: z.literal(true).exactOptional() }),
)

export const step = named<WireStep>(
  'Step',
  z.object({
    key: text,
    kind: z.enum(stepKinds),
    status: z.enum(['completed', 'failed', 'waiting']),
    attempts: count,
    output: anyJson,
    error: runError.nullable(),
    started_at: timeOrNull,
    finished_at: timeOrNull,
  }),
)

export const timelineEntry = named<WireTimelineEntry>(
  'TimelineEntry',
  z.object({
    at: time,
    kind: z.enum([
      'created',
      'queued',
      'claimed',
      'step',
      'wait',
      'answer',
      'parked',
      'released',
      'lost',
      'forgotten',
      'paused',
      'resumed',
      'retried',
      'completed',
      'failed',
      'cancelled',
      'timed_out',
    ]),
    epoch: count,
    key: textOrNull,
    worker_id: textOrNull,
    build: textOrNull,
    detail: textOrNull,
  }),
)

export const bulk = named<WireBulk>(
  'Bulk',
  z.object({
    action: z.enum(['cancel', 'retry', 'pause', 'resume']),
    dry_run: z.boolean(),
    matched: count,
    changed: count,
    next_cursor: textOrNull,
  }),
)

export const wait = named<WireWait>(
  'Wait',
  z.object({
    run_id: z.uuid(),
    key: text,
    kind: z.enum([...waitKind.options, 'cancel']),
    status: z.enum(['pending', 'open', 'answered', 'timed_out', 'cancelled']),
    topic: textOrNull,
    if: textOrNull,
    since: time,
    expires_at: timeOrNull,
    lookback_truncated: z.boolean(),
    unverified: z.boolean(),
    answer: z.object({ stream: text, partition: count, sequence_id: count }).nullable(),
    child_run_id: textOrNull,
    created_at: time,
    answered_at: timeOrNull,
  }),
)
