import { bigint, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { instant } from './columns.ts'

/** Mirrors migrations/001-runs.sql, where the constraints and the reasons are. */
export const runs = pgTable('runs', {
  id: uuid('id').primaryKey(),
  workflow: text('workflow').notNull(),
  app: text('app').notNull(),
  build: text('build'),
  queue: text('queue').notNull(),
  status: text('status', {
    enum: ['queued', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled', 'timed_out'],
  }).notNull(),
  epoch: integer('epoch').notNull().default(1),
  wake: integer('wake').notNull().default(0),
  lost: integer('lost').notNull().default(0),
  input: text('input'),
  output: text('output'),
  error: text('error'),
  tags: jsonb('tags').$type<Record<string, string>>().notNull().default({}),
  triggerId: text('trigger_id'),
  triggerVersion: integer('trigger_version'),
  stream: text('stream'),
  incarnation: integer('incarnation'),
  partition: integer('partition'),
  firstOffset: bigint('first_offset', { mode: 'number' }),
  lastOffset: bigint('last_offset', { mode: 'number' }),
  events: integer('events'),
  since: instant('since').notNull(),
  concurrencyKey: text('concurrency_key'),
  priority: integer('priority').notNull().default(0),
  workerId: text('worker_id'),
  claimedAt: instant('claimed_at'),
  parentRunId: uuid('parent_run_id'),
  parentStepKey: text('parent_step_key'),
  retryOf: uuid('retry_of'),
  attempt: integer('attempt').notNull().default(1),
  blockedReason: text('blocked_reason'),
  unfitBuilds: text('unfit_builds').array(),
  runAt: instant('run_at'),
  runTimeoutMs: bigint('run_timeout_ms', { mode: 'number' }),
  expiresAt: instant('expires_at'),
  traceparent: text('traceparent'),
  createdAt: instant('created_at').notNull(),
  queuedAt: instant('queued_at'),
  startedAt: instant('started_at'),
  finishedAt: instant('finished_at'),
})

export const steps = pgTable(
  'steps',
  {
    runId: uuid('run_id').notNull(),
    key: text('key').notNull(),
    kind: text('kind', {
      enum: ['run', 'publish', 'invoke', 'event', 'time', 'child', 'resume', 'value'],
    }).notNull(),
    n: integer('n').notNull(),
    seen: integer('seen').notNull().default(0),
    epoch: integer('epoch').notNull(),
    output: text('output'),
    error: text('error'),
    attempts: integer('attempts').notNull().default(1),
    startedAt: instant('started_at'),
    finishedAt: instant('finished_at'),
  },
  (table) => [primaryKey({ columns: [table.runId, table.key] })],
)

export const runIds = pgTable(
  'run_ids',
  {
    workflow: text('workflow').notNull(),
    externalId: text('external_id').notNull(),
    runId: uuid('run_id').notNull(),
    createdAt: instant('created_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.workflow, table.externalId] })],
)

export const runNotes = pgTable(
  'run_notes',
  {
    runId: uuid('run_id').notNull(),
    epoch: integer('epoch').notNull(),
    kind: text('kind', {
      enum: [
        'released',
        'parked',
        'lost',
        'forgotten',
        'stolen',
        'paused',
        'resumed',
        'cancelled',
        'timed_out',
        'retried',
      ],
    }).notNull(),
    workerId: text('worker_id'),
    claimedAt: instant('claimed_at'),
    detail: text('detail'),
    at: instant('at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.runId, table.epoch, table.kind] })],
)
