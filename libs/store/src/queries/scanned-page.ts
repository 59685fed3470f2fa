/** Rows of a list that a page looks at in one statement, once the newest ones did not fill it. */
const stretchRows = 20_000
/** At first fewer: as a rule the newest rows fill the page. */
const firstStretchRows = 1_000
/** A page ends here, also when it is not full: the caller comes again with its cursor. */
export const scanMsMax = 2_000

export interface Scan<Row, Place> {
  limit: number
  /** The last place of the page before. */
  cursor: Place | null
  /** The place of the `rows`-th row behind one; null when there are fewer. Reads an index only. */
  ahead: (after: Place | null, rows: number) => Promise<Place | null>
  /** Rows that are wanted, in order, behind `after` and up to `upTo` (to the end when null); `limit` at most. */
  read: (after: Place | null, upTo: Place | null, limit: number) => Promise<Row[]>
  placeOf: (row: Row) => Place
  now?: () => number
}

/**
 * A page of a list whose filter no index answers: it is looked for stretch by stretch, so that a filter which nothing
 * passes costs as much as it may and not as much as there is. Places are those of the list's order; a page that ran out
 * of time may be short, even empty, and has a place where the next one goes on.
 */
export async function scannedPage<Row, Place>(
  scan: Scan<Row, Place>,
): Promise<{ rows: Row[]; next: Place | null }> {
  const { limit, cursor, ahead, read, placeOf, now = () => performance.now() } = scan
  const endsAtMs = now() + scanMsMax
  const rows: Row[] = []
  let after = cursor
  for (let stretch = firstStretchRows; ; stretch = stretchRows) {
    const upTo = await ahead(after, stretch)
    rows.push(...(await read(after, upTo, limit + 1 - rows.length)))
    if (rows.length > limit) {
      const shown = rows.slice(0, limit)
      const last = shown.at(-1)
      return { rows: shown, next: last === undefined ? null : placeOf(last) }
    }
    if (upTo === null || now() >= endsAtMs) return { rows, next: upTo }
    after = upTo
  }
}
