import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** A Postgres that is further behind catches up by several calls. */
const RAISED_AT_ONCE_MAX = 10_000

// Counted up, not set: a value that another session takes meanwhile is never given again.
const raiseStatement = statement(
  'raise_config_revisions',
  `select count(nextval('config_revisions'))::int as raised from config_revisions s,
     generate_series(s.last_value + s.is_called::int, least($1::int8, s.last_value + ${RAISED_AT_ONCE_MAX}))`,
)

/**
 * Revisions that are given from now on are higher than `above`, by at most 10,000 a call. They are lower only where Postgres
 * was put back to an earlier point. The number of revisions that were passed over.
 */
export async function raiseConfigRevisions(store: Store, above: number): Promise<number> {
  const [row] = await run<{ raised: number }>(store.general, raiseStatement, [above])
  return row?.raised ?? 0
}

const renewStatements = {
  stream: renewal('stream', 'stream_bindings s', 's.stream'),
  key: renewal('key', 'api_keys s', 's.revoked_at is null and s.id'),
  event_type: renewal('event_type', 'event_types s', 's.name'),
}

function renewal(kind: string, table: string, name: string) {
  return statement(
    `renew_${kind}_revisions`,
    `update ${table} set revision = nextval('config_revisions') where ${name} = any ($1::text[])`,
  )
}

/** Gives settings another revision, and changes nothing else of them. */
export async function renewConfigRevisions(
  store: Store,
  kind: keyof typeof renewStatements,
  names: readonly string[],
): Promise<void> {
  await run(store.general, renewStatements[kind], [names])
}
