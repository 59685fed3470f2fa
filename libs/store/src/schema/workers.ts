import { bigint, integer, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { instant } from './columns.ts'

/** Mirrors migrations/003-workers.sql, where the constraints and the reasons are. */
export const workers = pgTable('workers', {
  id: text('id').primaryKey(),
  app: text('app').notNull(),
  build: text('build').notNull(),
  queue: text('queue').notNull(),
  host: text('host').notNull(),
  sdk: text('sdk').notNull(),
  concurrency: integer('concurrency').notNull(),
  workflows: text('workflows').array().notNull(),
  keyId: text('key_id'),
  partitions: integer('partitions').array().notNull(),
  status: text('status', { enum: ['live', 'draining', 'dead'] }).notNull(),
  stalledMs: bigint('stalled_ms', { mode: 'number' }).notNull(),
  startedAt: instant('started_at').notNull(),
  lastHeartbeatAt: instant('last_heartbeat_at').notNull(),
  previousHeartbeatAt: instant('previous_heartbeat_at'),
  absentRuns: uuid('absent_runs').array().notNull(),
  absentEpochs: integer('absent_epochs').array().notNull(),
  diedAt: instant('died_at'),
})

export const instances = pgTable('instances', {
  id: text('id').primaryKey(),
  component: text('component', { enum: ['gateway', 'trigger_service', 'orchestrator'] }).notNull(),
  version: text('version').notNull(),
  startedAt: instant('started_at').notNull(),
  lastBeatAt: instant('last_beat_at').notNull(),
  unbrokenSince: instant('unbroken_since').notNull(),
})
