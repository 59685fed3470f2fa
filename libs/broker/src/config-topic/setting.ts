import type { IncomingRecord, OutgoingRecord } from '../records.ts'
import { configTopic } from '../topics/topic-plan.ts'

/** What a setting on the config topic is about. A kind of setting brings its own shape of `value`. */
export type SettingKind = 'stream' | 'key' | 'event_type'

/**
 * One setting as a record of the config topic: keyed `kind/name`, its value as JSON, null once it is deleted, and its
 * revision in the header `headrace-revision`. Postgres is the truth about settings; the topic tells those who must not
 * need Postgres (P9).
 */
export interface Setting {
  readonly kind: string
  readonly name: string
  /** Rises with every change of any setting: what comes late is known by it. */
  readonly revision: number
  /** JSON; null: it is deleted. */
  readonly value: unknown
}

const REVISION = 'headrace-revision'

/** All settings share the one partition, so that a reader has a single end to reach. */
export const CONFIG_PARTITIONS = 1

export function encodeSetting(prefix: string, { kind, name, revision, value }: Setting): OutgoingRecord {
  return {
    topic: configTopic(prefix).name,
    partition: 0,
    key: `${kind}/${name}`,
    value: value === null ? null : JSON.stringify(value),
    headers: { [REVISION]: String(revision) },
  }
}

/** Null for a record that is no setting: somebody else wrote it. */
export function decodeSetting(record: Pick<IncomingRecord, 'key' | 'value' | 'headers'>): Setting | null {
  const [, kind, name] = /^([a-z_]+)\/(.+)$/s.exec(record.key?.toString('utf8') ?? '') ?? []
  const digits = record.headers[REVISION]?.toString('utf8') ?? ''
  if (kind === undefined || name === undefined || !/^\d{1,15}$/.test(digits)) return null
  try {
    const value: unknown = record.value === null ? null : JSON.parse(record.value.toString('utf8'))
    return { kind, name, revision: Number(digits), value }
  } catch {
    return null
  }
}
