import { bigint, integer, pgTable, text } from 'drizzle-orm/pg-core'
import { instant } from './columns.ts'

/** Mirrors migrations/007-event-types.sql. */
export const eventTypes = pgTable('event_types', {
  name: text('name').primaryKey(),
  pattern: text('pattern').notNull(),
  schemaType: text('schema_type').notNull(),
  schema: text('schema').notNull(),
  mode: text('mode').notNull(),
  contentModel: text('content_model').notNull(),
  subject: text('subject').notNull(),
  schemaId: integer('schema_id'),
  version: integer('version'),
  dataschema: text('dataschema'),
  revision: bigint('revision', { mode: 'number' }).notNull(),
  createdAt: instant('created_at').notNull(),
  updatedAt: instant('updated_at').notNull(),
})
