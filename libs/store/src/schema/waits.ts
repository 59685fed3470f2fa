import { bigint, boolean, integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { instant } from './columns.ts'

/** Mirrors migrations/004-waits.sql, where the constraints and the reasons are. */
export const waits = pgTable(
  'waits',
  {
    runId: uuid('run_id').notNull(),
    key: text('key').notNull(),
    kind: text('kind', { enum: ['event', 'time', 'run', 'resume', 'cancel'] }).notNull(),
    status: text('status', { enum: ['pending', 'open', 'answered', 'timed_out', 'cancelled'] }).notNull(),
    topic: text('topic'),
    stream: text('stream'),
    filter: text('filter'),
    firstEvent: text('first_event'),
    since: instant('since').notNull(),
    askedSince: instant('asked_since').notNull(),
    afterIncarnation: integer('after_incarnation'),
    afterPartition: integer('after_partition'),
    afterFrom: bigint('after_from', { mode: 'number' }),
    afterOffset: bigint('after_offset', { mode: 'number' }),
    childRunId: uuid('child_run_id'),
    epoch: integer('epoch').notNull(),
    seen: integer('seen').notNull(),
    wake: integer('wake'),
    expiresAt: instant('expires_at'),
    checkedAt: instant('checked_at'),
    answeredIncarnation: integer('answered_incarnation'),
    answeredPartition: integer('answered_partition'),
    answeredOffset: bigint('answered_offset', { mode: 'number' }),
    lookbackTruncated: boolean('lookback_truncated').notNull(),
    unverified: boolean('unverified').notNull(),
    createdAt: instant('created_at').notNull(),
    answeredAt: instant('answered_at'),
  },
  (table) => [primaryKey({ columns: [table.runId, table.key] })],
)

export const responses = pgTable(
  'responses',
  {
    topic: text('topic').notNull(),
    logTime: instant('log_time').notNull(),
    stream: text('stream').notNull(),
    incarnation: integer('incarnation').notNull(),
    partition: integer('partition').notNull(),
    sequenceId: bigint('sequence_id', { mode: 'number' }).notNull(),
    id: text('id').notNull(),
    source: text('source').notNull(),
    eventType: text('event_type'),
    key: text('key'),
    data: text('data').notNull(),
    traceparent: text('traceparent'),
    external: text('external'),
  },
  (table) => [
    primaryKey({
      columns: [table.topic, table.incarnation, table.partition, table.sequenceId, table.logTime],
    }),
  ],
)

export const correlatorCursors = pgTable('correlator_cursors', {
  partition: integer('partition').primaryKey(),
  nextOffset: bigint('next_offset', { mode: 'number' }).notNull(),
  logTime: instant('log_time').notNull(),
  updatedAt: instant('updated_at').notNull(),
})

export const waitedStreams = pgTable('waited_streams', {
  stream: text('stream').primaryKey(),
  projectedFrom: instant('projected_from').notNull(),
  openFrom: instant('open_from'),
  createdAt: instant('created_at').notNull(),
})

export const projections = pgTable(
  'projections',
  {
    stream: text('stream').notNull(),
    partition: integer('partition').notNull(),
    incarnation: integer('incarnation').notNull(),
    projectedFrom: instant('projected_from').notNull(),
    fromOffset: bigint('from_offset', { mode: 'number' }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.partition] })],
)

export const latestResponses = pgTable('latest_responses', {
  topic: text('topic').primaryKey(),
  logTime: instant('log_time').notNull(),
  stream: text('stream').notNull(),
  incarnation: integer('incarnation').notNull(),
  partition: integer('partition').notNull(),
  sequenceId: bigint('sequence_id', { mode: 'number' }).notNull(),
  id: text('id').notNull(),
  source: text('source').notNull(),
  eventType: text('event_type'),
  key: text('key'),
  data: text('data').notNull(),
  traceparent: text('traceparent'),
  external: text('external'),
})
