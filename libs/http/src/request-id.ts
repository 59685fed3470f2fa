import { randomUUID } from 'node:crypto'

/** What may stand in a log line and a header without quoting. */
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._:+=/@-]{0,127}$/

/** The caller's `X-Request-Id` where it is one (1 to 128 plain characters), else a new one. */
export function requestIdOf(header: string | string[] | undefined): string {
  return typeof header === 'string' && REQUEST_ID.test(header) ? header : randomUUID()
}
