import { hash } from 'node:crypto'

/** Where a list of dead letters goes on: per partition the offset to begin below. */
export interface DeadLetterCursor {
  /** Which list it belongs to: a cursor taken to another query would leave out or repeat some. */
  query: string
  /** Partitions that are read to their beginning are left out. */
  below: Map<number, number>
}

const VERSION = 'd1'
/** Some 800 partitions; a request line has 16 KiB. */
const CHARACTERS_MAX = 12_000
const span = /^([0-9a-z]{1,6})-([0-9a-z]{1,11})$/

/** The mark of a query in its cursors. */
export const queryMark = (query: Readonly<Record<string, string | undefined>>): string =>
  hash(
    'sha256',
    JSON.stringify(Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))),
    'base64url',
  ).slice(0, 12)

/** Opaque to callers; in fact `d1.<query>.<partition>-<offset>…`, numbers in base 36 because URLs are short. */
export const encodeDeadLetterCursor = ({ query, below }: DeadLetterCursor): string =>
  [
    VERSION,
    query,
    ...[...below].map(([partition, offset]) => `${partition.toString(36)}-${offset.toString(36)}`),
  ].join('.')

/** Null where the text is no cursor of ours. */
export function decodeDeadLetterCursor(text: string): DeadLetterCursor | null {
  if (text.length > CHARACTERS_MAX) return null
  const [version, query, ...parts] = text.split('.')
  if (version !== VERSION || query === undefined || parts.length === 0) return null
  const below = new Map<number, number>()
  for (const part of parts) {
    const [partition, offset] = (span.exec(part) ?? []).slice(1).map((digits) => Number.parseInt(digits, 36))
    if (partition === undefined || offset === undefined) return null
    if (below.has(partition) || !Number.isSafeInteger(offset)) return null
    below.set(partition, offset)
  }
  return { query, below }
}
