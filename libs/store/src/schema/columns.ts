import { customType } from 'drizzle-orm/pg-core'

/** timestamptz as ms since 1970, as everywhere in this package. Postgres's text of it, whatever its zone. */
export const instant = customType<{ data: number; driverData: string }>({
  dataType: () => 'timestamp with time zone',
  fromDriver: (text) => Date.parse(text),
  toDriver: (ms) => new Date(ms).toISOString(),
})

/** Settled offsets beyond a cursor, as Postgres writes them: `{[5,8),[9,10)}`. */
export const offsetRanges = customType<{ data: string }>({ dataType: () => 'int8multirange' })

export const bytes = customType<{ data: Buffer }>({ dataType: () => 'bytea' })
