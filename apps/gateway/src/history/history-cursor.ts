import { hash } from 'node:crypto'

/** Where a listing of a stream's history goes on: per partition the next offset and the end it stops before. */
export interface HistoryPosition {
  /** Which listing it belongs to: a cursor taken to another query would leave out or repeat events. */
  query: string
  /** Partitions that are read to their end are left out. */
  spans: Map<number, { next: number; end: number }>
}

const VERSION = 'h1'
/** Some 600 partitions; a request line has 16 KiB. */
const CHARACTERS_MAX = 12_000
const span = /^([0-9a-z]{1,6})-([0-9a-z]{1,11})-([0-9a-z]{1,11})$/

/** The mark of a query in its cursors. */
export const queryMark = (query: Readonly<Record<string, unknown>>): string =>
  hash(
    'sha256',
    JSON.stringify(Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))),
    'base64url',
  ).slice(0, 12)

/** Opaque to callers; in fact `h1.<query>.<partition>-<next>-<events left>…`, numbers in base 36 because URLs are short. */
export function encodeHistoryCursor({ query, spans }: HistoryPosition): string {
  const parts = [...spans].map(([partition, { next, end }]) =>
    [partition, next, end - next].map((value) => value.toString(36)).join('-'),
  )
  return [VERSION, query, ...parts].join('.')
}

/** Null where the text is no cursor of ours. */
export function decodeHistoryCursor(text: string): HistoryPosition | null {
  if (text.length > CHARACTERS_MAX) return null
  const [version, query, ...parts] = text.split('.')
  if (version !== VERSION || query === undefined || parts.length === 0) return null
  const spans = new Map<number, { next: number; end: number }>()
  for (const part of parts) {
    const match = span.exec(part)
    if (match === null) return null
    const [partition, next, left] = match.slice(1).map((digits) => Number.parseInt(digits, 36))
    if (partition === undefined || next === undefined || left === undefined) return null
    if (spans.has(partition) || !Number.isSafeInteger(next + left)) return null
    spans.set(partition, { next, end: next + left })
  }
  return { query, spans }
}
