import { jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { bytes, instant } from './columns.ts'

/** Mirrors migrations/005-api-keys.sql. */
export const apiKeys = pgTable('api_keys', {
  id: text('id').primaryKey(),
  name: text('name').notNull(),
  secretSha256: bytes('secret_sha256').notNull(),
  scopes: text('scopes').array().notNull(),
  rateLimit: jsonb('rate_limit'),
  createdAt: instant('created_at').notNull(),
  expiresAt: instant('expires_at'),
  revokedAt: instant('revoked_at'),
  lastUsedAt: instant('last_used_at'),
})
