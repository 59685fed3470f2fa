import type { Pool, PoolClient, QueryResultRow } from 'pg'

/** Where a statement runs: a pool, or the one connection of a transaction. */
export type Connection = Pool | PoolClient

/** A hand-written statement. Its name makes it a prepared one: parsed and planned once a connection. */
export interface Statement {
  readonly name: string
  readonly text: string
  /** What it is called where statements are measured: the same in all its forms. */
  readonly query?: string
}

/** Told of each prepared statement that has ended, well or not. The time includes the wait for a connection. */
export type QueryMeter = (query: string, seconds: number) => void

const meters = new WeakMap<Connection, QueryMeter>()

/** From now on the statements of this connection, or pool, are measured. */
export function measureQueries(connection: Connection, meter: QueryMeter): void {
  meters.set(connection, meter)
}

/**
 * Names carry a hash of the text: two versions of Headrace behind one connection pooler must not meet in one
 * prepared name.
 */
export function statement(name: string, text: string, query = name): Statement {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return { name: `${name}_${(hash >>> 0).toString(16)}`, text, query }
}

/** Runs a prepared statement and returns its rows. */
export async function run<Row extends QueryResultRow>(
  connection: Connection,
  prepared: Statement,
  values: unknown[],
): Promise<Row[]> {
  const startedAtMs = performance.now()
  try {
    const { rows } = await connection.query<Row>({ name: prepared.name, text: prepared.text, values })
    return rows
  } finally {
    meters.get(connection)?.(prepared.query ?? prepared.name, (performance.now() - startedAtMs) / 1_000)
  }
}

/** One transaction on one connection: committed when `work` returns, rolled back when it throws. */
export async function transaction<Result>(
  pool: Pool,
  work: (client: PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    const result = await work(client)
    await client.query('commit')
    client.release()
    return result
  } catch (error) {
    // A connection whose rollback fails is in no known state: it is closed, which rolls back too.
    const rolledBack = await client.query('rollback').then(
      () => true,
      () => false,
    )
    client.release(!rolledBack)
    throw error
  }
}
