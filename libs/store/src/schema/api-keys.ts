import { bigint, integer, pgTable, text } from 'drizzle-orm/pg-core'
import { bytes, instant } from './columns.ts'

/** Mirrors migrations/005-api-keys.sql. */
export const apiKeys = pgTable('api_keys', {
  id: text('id').primaryKey(),
  name: text('name').notNull(),
  environment: text('environment').notNull(),
  secretSha256: bytes('secret_sha256').notNull(),
  previousSha256: bytes('previous_sha256'),
  previousUntil: instant('previous_until'),
  scopes: text('scopes').array().notNull(),
  eventsPerSecond: integer('events_per_second'),
  revision: bigint('revision', { mode: 'number' }).notNull(),
  createdAt: instant('created_at').notNull(),
  expiresAt: instant('expires_at'),
  revokedAt: instant('revoked_at'),
})

export const audit = pgTable('audit', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  at: instant('at').notNull(),
  keyId: text('key_id'),
  action: text('action').notNull(),
  method: text('method').notNull(),
  path: text('path').notNull(),
  requestId: text('request_id'),
  before: text('before'),
  after: text('after'),
})
