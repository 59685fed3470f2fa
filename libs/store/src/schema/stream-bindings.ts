import { bigint, pgTable, text } from 'drizzle-orm/pg-core'
import { instant } from './columns.ts'

/** Mirrors migrations/006-stream-bindings.sql. */
export const streamBindings = pgTable('stream_bindings', {
  stream: text('stream').primaryKey(),
  kafkaTopic: text('kafka_topic').notNull(),
  rule: text('rule').notNull(),
  revision: bigint('revision', { mode: 'number' }).notNull(),
  createdAt: instant('created_at').notNull(),
  updatedAt: instant('updated_at').notNull(),
})
