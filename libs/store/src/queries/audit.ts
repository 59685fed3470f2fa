import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** Who changed what. Times are ms since 1970. */
export interface AuditRecord extends AuditEntry {
  id: number
  at: number
}

export interface AuditEntry {
  /** Null: without a key. */
  keyId: string | null
  action: string
  method: string
  path: string
  requestId: string | null
  /** JSON; null: nothing was known. */
  before: string | null
  after: string | null
}

const insertStatement = statement(
  'write_audit',
  `insert into audit (key_id, action, method, path, request_id, before, after) values ($1, $2, $3, $4, $5, $6, $7)`,
)

export async function writeAudit(store: Store, entry: AuditEntry): Promise<void> {
  const { keyId, action, method, path, requestId, before, after } = entry
  await run(store.general, insertStatement, [keyId, action, method, path, requestId, before, after])
}

/** All conditions hold together; null: whatever it is. */
export interface AuditFilter {
  keyId: string | null
  path: string | null
}

/** A statement for each combination: each has an index of its own, whose end it reads. */
const listStatement = ({ keyId, path }: AuditFilter) => {
  const conditions = [
    'a.id < $1',
    ...(keyId === null ? [] : ['a.key_id = $3']),
    ...(path === null ? [] : [`a.path = $${keyId === null ? 3 : 4}`]),
  ]
  return statement(
    `list_audit${keyId === null ? '' : '_key'}${path === null ? '' : '_path'}`,
    `select a.id, a.at, a.key_id as "keyId", a.action, a.method, a.path, a.request_id as "requestId", a.before, a.after
     from audit a where ${conditions.join(' and ')} order by a.id desc limit $2`,
  )
}

/** The newest first. `below`: the last one of the page before. */
export async function listAudit(
  store: Store,
  filter: AuditFilter,
  { below, limit }: { below: number | null; limit: number },
): Promise<{ entries: AuditRecord[]; nextCursor: number | null }> {
  const given = [filter.keyId, filter.path].filter((each) => each !== null)
  const rows = await run<AuditRecord & Record<string, unknown>>(store.general, listStatement(filter), [
    below ?? Number.MAX_SAFE_INTEGER,
    limit + 1,
    ...given,
  ])
  const entries = rows.slice(0, limit)
  return { entries, nextCursor: rows.length > limit ? (entries.at(-1)?.id ?? null) : null }
}

/** Rows of one delete: some ms. */
const sweepBatch = 10_000

const sweepStatement = statement(
  'sweep_audit',
  `delete from audit where id = any (array(
     select a.id from audit a where a.at < now() - make_interval(secs => $1::float8 / 1000) order by a.at limit ${sweepBatch}))`,
)

/** Lets entries go that are older. */
export async function sweepAudit(store: Store, keptMs: number): Promise<{ more: boolean }> {
  const { name, text } = sweepStatement
  const { rowCount } = await store.general.query({ name, text, values: [keptMs] })
  return { more: (rowCount ?? 0) === sweepBatch }
}
