import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { Store } from '../connection.ts'

const databases = new WeakMap<Store, NodePgDatabase>()

/** Drizzle over the general pool: lists and look-ups for people. What carries a promise is hand-written SQL. */
export function adminDatabase(store: Store): NodePgDatabase {
  let database = databases.get(store)
  if (!database) {
    database = drizzle(store.general)
    databases.set(store, database)
  }
  return database
}
