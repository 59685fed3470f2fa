import { type CustomTypesConfig, Pool, types } from 'pg'
import { measureQueries, type QueryMeter } from './statement.ts'
import { UrlClient } from './url-client.ts'

/** How long a statement may run. Hot ones take milliseconds; a longer one waits for a lock or a broken disk. */
const statementTimeoutMsDefault = 15_000
/** Past the server's own timeout by this much, the connection itself is taken for dead. */
const deadConnectionGraceMs = 5_000
const connectTimeoutMs = 5_000
/** One to three connections carry all commands (measured); a fourth is for the claim that comes in meanwhile. */
const hotConnectionsDefault = 4
const connectionsDefault = 6
/** 6 h. Some prepared statements are of a day (day-statement): a connection that lived for ever would keep them all. */
const connectionLifetimeSeconds = 6 * 3_600

export interface StoreOptions {
  /**
   * `postgres://user:password@host:port/database`, with parameters as libpq has them: `sslmode`, `sslrootcert`, `options`. Ours
   * is `password_file`, in place of the password.
   */
  url: string
  /** Shown in `pg_stat_activity`. */
  applicationName: string
  hotConnections?: number
  connections?: number
  statementTimeoutMs?: number
  /** Told how long each prepared statement took. */
  onQuery?: QueryMeter
}

/**
 * Two pools on one database. `hot` runs the statements that carry runs, with the planner held to primary keys;
 * `general` runs everything else, so that a list nobody bounded or a full hot pool never makes a worker look dead.
 * Connects at the first statement; a broken connection is replaced by the next one.
 */
export interface Store {
  readonly hot: Pool
  readonly general: Pool
  /** Resolves when Postgres answers. */
  ping(): Promise<void>
  /** Postgres's clock, ms since 1970. */
  serverNow(): Promise<number>
  close(): Promise<void>
}

const timestamptzOid = 1184
const int8Oid = 20
// Sessions run in UTC, so every timestamptz reads `2026-11-23 12:00:00.123456+00`.
const instantMs = (text: string): number => Date.parse(`${text.slice(0, 10)}T${text.slice(11, -3)}Z`)

/** Offsets and revisions are far below 2^53, and times are ms: both are numbers in rows. */
const rowTypes: CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
    if (format !== 'binary' && oid === timestamptzOid) return instantMs
    if (format !== 'binary' && oid === int8Oid) return Number
    return types.getTypeParser(oid)
  },
}

/**
 * What holds the planner to the primary keys on hot connections:
 * - `enable_seqscan=off`: on tables not yet analysed, or small ones, a join became a hash join over a scan of all
 *   partitions, and a statement prepared while the table was empty kept that plan (8,000 → 4,000 runs/s).
 * - `enable_bitmapscan=off`, `enable_material=off`: without the scan, it walked an index and kept the rows.
 * - `plan_cache_mode=force_generic_plan`: their plans do not depend on the values, and planning over 40 partitions
 *   costs more than running.
 * - `jit=off`: the cost of a plan over many partitions crosses the threshold, compiling costs more than running.
 */
export const hotSettings = [
  'enable_seqscan=off',
  'enable_bitmapscan=off',
  'enable_material=off',
  'plan_cache_mode=force_generic_plan',
  'jit=off',
]
const generalSettings = ['jit=off']
/** Ours alone, and only there to be seen again: a pooler that drops settings drops this one too. */
export const sessionMark = 'headrace.session'

/** A url whose sessions have these settings, whatever `options` it had before; those of the url win. */
export function urlWithSettings(url: string, settings: string[]): string {
  const parsed = new URL(url)
  const options = [...settings.map((setting) => `-c ${setting}`), parsed.searchParams.get('options') ?? '']
  parsed.searchParams.set('options', options.join(' ').trim())
  return parsed.toString()
}

function openPool(options: StoreOptions, settings: string[], connections: number): Pool {
  const statementTimeoutMs = options.statementTimeoutMs ?? statementTimeoutMsDefault
  const pool = new Pool({
    Client: UrlClient,
    connectionString: urlWithSettings(options.url, [
      'timezone=UTC',
      `${sessionMark}=on`,
      `statement_timeout=${statementTimeoutMs}`,
      `idle_in_transaction_session_timeout=${statementTimeoutMs * 2}`,
      ...settings,
    ]),
    application_name: options.applicationName,
    max: connections,
    connectionTimeoutMillis: connectTimeoutMs,
    idleTimeoutMillis: 0,
    maxLifetimeSeconds: connectionLifetimeSeconds,
    query_timeout: statementTimeoutMs + deadConnectionGraceMs,
    keepAlive: true,
    types: rowTypes,
  })
  // A connection that breaks while idle is reported here and nowhere else; unheard, it would end the process.
  // There is nothing to do: the pool has dropped it, and the next statement opens another.
  pool.on('error', () => {})
  const { onQuery } = options
  if (onQuery !== undefined) {
    measureQueries(pool, onQuery)
    // Those of a transaction, which holds a connection of the pool.
    pool.on('connect', (client) => measureQueries(client, onQuery))
  }
  return pool
}

export function openStore(options: StoreOptions): Store {
  const hot = openPool(options, hotSettings, options.hotConnections ?? hotConnectionsDefault)
  const general = openPool(options, generalSettings, options.connections ?? connectionsDefault)
  let closing: Promise<void> | null = null
  return {
    hot,
    general,
    async ping() {
      await general.query('select 1')
    },
    async serverNow() {
      const { rows } = await general.query<{ now: number }>('select clock_timestamp() as now')
      const [row] = rows
      if (!row) throw new Error('Postgres answered without its time')
      return row.now
    },
    async close() {
      closing ??= endPools([hot, general])
      await closing
    },
  }
}

async function endPools(pools: Pool[]): Promise<void> {
  await Promise.all(pools.map(async (pool) => await pool.end()))
}
