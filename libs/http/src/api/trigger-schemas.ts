import {
  runStatuses,
  type WireBuild,
  type WireCursor,
  type WireReplay,
  type WireReset,
  type WireTrigger,
  type WireWorkflow,
} from '@headrace/schemas'
import { z } from 'zod'
import { named, time, count, text, textOrNull, timeOrNull } from './wire-schema.ts'
import { triggerStatus } from './event-schemas.ts'

export const workflow = named<WireWorkflow>(
  'Workflow',
  z.object({
    id: text,
    app: text,
    build: textOrNull,
    queue: text,
    on_deploy: z.enum(['upgrade', 'pin']),
    status: z.enum(['live', 'paused', 'retired']),
    concurrency: z.object({ limit: count, key: textOrNull }).nullable(),
    triggers: z.array(text),
    workers: count,
    runs: z.partialRecord(z.enum(runStatuses), count),
  }),
)

export const build = named<WireBuild>(
  'Build',
  z.object({
    id: text,
    app: text,
    in_force: z.boolean(),
    workflows: z.array(text),
    workers: count,
    pinned_runs: count,
    first_registered_at: time,
    last_registered_at: time,
  }),
)

const cursor = named<WireCursor>(
  'Cursor',
  z.object({
    stream: text,
    partition: count,
    next_offset: count,
    end_offset: count.nullable(),
    lag: count.nullable(),
    status: z.enum(['live', 'paused', 'stopped']),
    reason: textOrNull,
    lost: count,
    open_window: z.object({ events: count, since: time }).nullable(),
    retention_margin_seconds: z.number().nullable(),
  }),
)

export const trigger = named<WireTrigger>(
  'Trigger',
  z.object({
    id: text,
    workflow: text,
    app: text,
    build: textOrNull,
    pattern: text,
    window: z.object({
      size: z.int(),
      timeout_seconds: z.number().nullable(),
      max_bytes: z.int(),
      key: textOrNull,
    }),
    if: textOrNull,
    on_gap: z.enum(['stop', 'continue']),
    status: triggerStatus,
    reason: textOrNull,
    cursors: z.array(cursor),
  }),
)

export const reset = named<WireReset>(
  'Reset',
  z.object({
    trigger: text,
    dry_run: z.boolean(),
    cursors: z.array(
      z.object({
        stream: text,
        partition: count,
        next_offset: count.nullable(),
        reset_to: count,
        end_offset: count,
        incarnation: count,
        again: count,
        skipped: count,
      }),
    ),
  }),
)
const replayStatus = z.enum(['running', 'done', 'failed', 'cancelled'])

export const replay = named<WireReplay>(
  'Replay',
  z.object({
    id: z.uuid(),
    trigger: text,
    dry_run: z.boolean(),
    status: replayStatus,
    counts: z
      .object({ windows: count, events: count, filtered: count, repeats: count, dead_letters: count })
      .nullable(),
    created_at: time,
    finished_at: timeOrNull,
    ranges: z.array(
      z.object({
        stream: text,
        partition: count,
        from_offset: count,
        to_offset: count,
        next_offset: count.nullable(),
        status: replayStatus,
        reason: textOrNull,
      }),
    ),
  }),
)
