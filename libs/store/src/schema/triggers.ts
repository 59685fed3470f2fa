import { bigint, boolean, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { instant, offsetRanges } from './columns.ts'

/** Mirrors migrations/002-triggers.sql, where the constraints and the reasons are. */
export const apps = pgTable('apps', {
  id: text('id').primaryKey(),
  currentBuild: text('current_build'),
  createdAt: instant('created_at').notNull(),
  registeredAt: instant('registered_at').notNull(),
})

export const builds = pgTable(
  'builds',
  {
    app: text('app').notNull(),
    id: text('id').notNull(),
    definition: jsonb('definition').notNull(),
    firstRegisteredAt: instant('first_registered_at').notNull(),
    lastRegisteredAt: instant('last_registered_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.app, table.id] })],
)

export const workflows = pgTable('workflows', {
  id: text('id').primaryKey(),
  app: text('app').notNull(),
  build: text('build').notNull(),
  queue: text('queue').notNull(),
  onDeploy: text('on_deploy', { enum: ['upgrade', 'pin'] }).notNull(),
  startTimeoutMs: bigint('start_timeout_ms', { mode: 'number' }),
  runTimeoutMs: bigint('run_timeout_ms', { mode: 'number' }),
  concurrencyLimit: integer('concurrency_limit'),
  concurrencyKey: text('concurrency_key'),
  backpressuredSince: instant('backpressured_since'),
  status: text('status', { enum: ['live', 'retired'] }).notNull(),
  pausedAt: instant('paused_at'),
  definition: jsonb('definition').notNull(),
  createdAt: instant('created_at').notNull(),
  updatedAt: instant('updated_at').notNull(),
  retiredAt: instant('retired_at'),
})

export const triggers = pgTable('triggers', {
  id: text('id').primaryKey(),
  workflow: text('workflow').notNull(),
  app: text('app').notNull(),
  build: text('build').notNull(),
  queue: text('queue').notNull(),
  pattern: text('pattern').notNull(),
  stream: text('stream').notNull(),
  windowSize: integer('window_size').notNull(),
  windowTimeoutMs: bigint('window_timeout_ms', { mode: 'number' }),
  windowMaxBytes: integer('window_max_bytes').notNull(),
  windowKey: text('window_key'),
  filter: text('filter'),
  flow: jsonb('flow'),
  gapPolicy: text('gap_policy', { enum: ['stop', 'continue'] }).notNull(),
  onDeploy: text('on_deploy', { enum: ['upgrade', 'pin'] }).notNull(),
  status: text('status', { enum: ['live', 'paused', 'retired'] }).notNull(),
  reason: text('reason'),
  paused: boolean('paused').notNull(),
  version: integer('version').notNull(),
  createdAt: instant('created_at').notNull(),
  updatedAt: instant('updated_at').notNull(),
  retiredAt: instant('retired_at'),
})

export const triggerCursors = pgTable(
  'trigger_cursors',
  {
    triggerId: text('trigger_id').notNull(),
    stream: text('stream').notNull(),
    partition: integer('partition').notNull(),
    incarnation: integer('incarnation').notNull(),
    nextOffset: bigint('next_offset', { mode: 'number' }).notNull(),
    done: offsetRanges('done').notNull(),
    revision: bigint('revision', { mode: 'number' }).notNull(),
    version: integer('version').notNull(),
    lastOffset: bigint('last_offset', { mode: 'number' }),
    lastTs: instant('last_ts'),
    lastId: text('last_id'),
    status: text('status', { enum: ['live', 'paused', 'stopped'] }).notNull(),
    reason: text('reason'),
    lost: bigint('lost', { mode: 'number' }).notNull(),
    openEvents: integer('open_events'),
    openSince: instant('open_since'),
    openOffset: bigint('open_offset', { mode: 'number' }),
    updatedAt: instant('updated_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.partition, table.triggerId] })],
)

export const replays = pgTable(
  'replays',
  {
    id: uuid('id').notNull(),
    triggerId: text('trigger_id').notNull(),
    stream: text('stream').notNull(),
    partition: integer('partition').notNull(),
    fromOffset: bigint('from_offset', { mode: 'number' }).notNull(),
    toOffset: bigint('to_offset', { mode: 'number' }).notNull(),
    dryRun: boolean('dry_run').notNull(),
    status: text('status', { enum: ['running', 'done', 'failed', 'cancelled'] }).notNull(),
    reason: text('reason'),
    windows: bigint('windows', { mode: 'number' }),
    events: bigint('events', { mode: 'number' }),
    filtered: bigint('filtered', { mode: 'number' }),
    repeats: bigint('repeats', { mode: 'number' }),
    deadLetters: bigint('dead_letters', { mode: 'number' }),
    createdAt: instant('created_at').notNull(),
    finishedAt: instant('finished_at'),
  },
  (table) => [primaryKey({ columns: [table.triggerId, table.id, table.partition] })],
)

export const eventIds = pgTable(
  'event_ids',
  {
    stream: text('stream').notNull(),
    source: text('source').notNull(),
    id: text('id').notNull(),
    incarnation: integer('incarnation').notNull(),
    partition: integer('partition').notNull(),
    sequenceId: bigint('sequence_id', { mode: 'number' }).notNull(),
    logTime: instant('log_time').notNull(),
    runId: uuid('run_id'),
  },
  (table) => [primaryKey({ columns: [table.stream, table.source, table.id] })],
)

export const eventIdSweeps = pgTable('event_id_sweeps', {
  stream: text('stream').primaryKey(),
  sweptTo: instant('swept_to').notNull(),
  revision: bigint('revision', { mode: 'number' }).notNull(),
})

export const decisions = pgTable(
  'decisions',
  {
    kind: text('kind', { enum: ['repeat', 'gap'] }).notNull(),
    stream: text('stream').notNull(),
    partition: integer('partition').notNull(),
    incarnation: integer('incarnation').notNull(),
    triggerId: text('trigger_id').notNull(),
    sequenceId: bigint('sequence_id', { mode: 'number' }).notNull(),
    lastSequenceId: bigint('last_sequence_id', { mode: 'number' }).notNull(),
    firstIncarnation: integer('first_incarnation'),
    firstPartition: integer('first_partition'),
    firstSequenceId: bigint('first_sequence_id', { mode: 'number' }),
    at: instant('at').notNull(),
  },
  (table) => [
    primaryKey({
      columns: [
        table.kind,
        table.stream,
        table.partition,
        table.incarnation,
        table.triggerId,
        table.sequenceId,
      ],
    }),
  ],
)

export const deadLetters = pgTable(
  'dead_letters',
  {
    partition: integer('partition').notNull(),
    sequenceId: bigint('sequence_id', { mode: 'number' }).notNull(),
    logTime: instant('log_time').notNull(),
    status: text('status', { enum: ['open', 'redriven', 'discarded'] }).notNull(),
    begunAt: instant('begun_at'),
    runId: uuid('run_id'),
    reason: text('reason'),
    decidedAt: instant('decided_at'),
    decidedBy: text('decided_by'),
  },
  (table) => [primaryKey({ columns: [table.partition, table.sequenceId, table.logTime] })],
)
