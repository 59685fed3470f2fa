import { createEmptyDatabase } from '@headrace/testing'
import { getTableColumns, getTableName } from 'drizzle-orm'
import { getTableConfig, type PgTable } from 'drizzle-orm/pg-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { migrate, openStore, schemaVersion, type Store } from './index.ts'
import { migrationsExpected } from './migrate.ts'
import { apiKeys, audit } from './schema/api-keys.ts'
import { eventTypes } from './schema/event-types.ts'
import { runIds, runNotes, runs, steps } from './schema/runs.ts'
import { streamBindings } from './schema/stream-bindings.ts'
import {
  apps,
  builds,
  deadLetters,
  replays,
  decisions,
  eventIds,
  eventIdSweeps,
  triggerCursors,
  triggers,
  workflows,
} from './schema/triggers.ts'
import {
  correlatorCursors,
  latestResponses,
  projections,
  responses,
  waitedStreams,
  waits,
} from './schema/waits.ts'
import { instances, workers } from './schema/workers.ts'

const tables: PgTable[] = [
  [runs, steps, runIds, runNotes],
  [
    apps,
    builds,
    workflows,
    triggers,
    triggerCursors,
    replays,
    eventIds,
    eventIdSweeps,
    decisions,
    deadLetters,
  ],
  [workers, instances, apiKeys, audit, streamBindings, eventTypes],
  [waits, responses, correlatorCursors, waitedStreams, projections, latestResponses],
].flat()

let url: string
let store: Store
beforeAll(async () => {
  url = (await createEmptyDatabase()).url
  store = openStore({ url, applicationName: 'headrace-test' })
})
afterAll(async () => {
  await store.close()
})

describe('migrations', () => {
  test('are applied once, by whoever of many comes first, and make the partitions of these days', async () => {
    expect(await schemaVersion(store)).toEqual({ current: 0, expected: migrationsExpected })
    const outcomes = await Promise.all(Array.from({ length: 4 }, async () => await migrate(url)))
    expect(outcomes.map(({ applied }) => applied.length).toSorted((a, b) => a - b)).toEqual([
      0,
      0,
      0,
      migrationsExpected,
    ])
    expect(await schemaVersion(store)).toEqual({ current: migrationsExpected, expected: migrationsExpected })
    const { rows } = await store.general.query<{ count: number }>(
      `select count(*)::int as count from pg_inherits where inhparent = 'runs'::regclass and not inhdetachpending`,
    )
    expect(rows[0]?.count).toBe(5)
  })

  test('that changed after they were applied are refused, and so is a database that is newer', async () => {
    await store.general.query(`update headrace_migrations set sha256 = 'other' where number = 2`)
    await expect(migrate(url)).rejects.toThrow('002-triggers')
    await store.general.query('delete from headrace_migrations')
    await store.general.query(
      `insert into headrace_migrations (number, name, sha256) select n, 'x', 'y' from generate_series(1, 99) n`,
    )
    await expect(migrate(url)).rejects.toThrow('older than the database')
  })
})

describe('the drizzle schema', () => {
  test('has every table of the database and no other', async () => {
    const { rows } = await store.general.query<{ name: string }>(
      `select relname as name from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
         and relname <> 'headrace_migrations'`,
    )
    expect(tables.map(getTableName).toSorted()).toEqual(rows.map((row) => row.name).toSorted())
  })

  test.each(tables.map((table) => [getTableName(table), table] as const))(
    'agrees with %s: columns, types, which may be null, and the key',
    async (name, table) => {
      const { rows } = await store.general.query<{ name: string; type: string; nullable: boolean }>(
        `select attname as name, format_type(atttypid, null) as type, not attnotnull as nullable
         from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped`,
        [name],
      )
      const wanted = Object.values(getTableColumns(table)).map((column) => ({
        name: column.name,
        type: column.getSQLType(),
        nullable: !column.notNull,
      }))
      const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1)
      expect(wanted.toSorted(byName)).toEqual(rows.toSorted(byName))
      const { rows: keys } = await store.general.query<{ columns: string[] }>(
        `select array_agg(a.attname::text order by k.n) as columns from pg_index i
         cross join lateral unnest(i.indkey) with ordinality k(attnum, n)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid = $1::regclass and i.indisprimary`,
        [name],
      )
      const config = getTableConfig(table)
      const key =
        config.primaryKeys[0]?.columns.map((column) => column.name) ??
        config.columns.filter((column) => column.primary).map((column) => column.name)
      expect(key).toEqual(keys[0]?.columns)
    },
  )
})
