import { hash } from 'node:crypto'

/** Where a reader of a stream is: per partition the offset that it has not seen yet. */
export type StreamPosition = ReadonlyMap<number, number>

const VERSION = 's1'
/** Some 800 partitions; a header comes back with it, and all headers have 16 KiB. */
const CHARACTERS_MAX = 12_000
const span = /^([0-9a-z]{1,6})-([0-9a-z]{1,11})$/

const mark = (stream: string): string => hash('sha256', stream, 'base64url').slice(0, 8)

/** The `id` of a server-sent event. Opaque to callers; in fact `s1.<stream>.<partition>-<next>…`, numbers in base 36. */
export const encodeStreamPosition = (stream: string, position: StreamPosition): string =>
  [
    VERSION,
    mark(stream),
    ...[...position].map(([partition, next]) => `${partition.toString(36)}-${next.toString(36)}`),
  ].join('.')

/** Null where the text is no id of an event of this stream. */
export function decodeStreamPosition(stream: string, text: string): Map<number, number> | null {
  if (text.length > CHARACTERS_MAX) return null
  const [version, of, ...parts] = text.split('.')
  if (version !== VERSION || of !== mark(stream) || parts.length === 0) return null
  const position = new Map<number, number>()
  for (const part of parts) {
    const [partition, next] = (span.exec(part) ?? []).slice(1).map((digits) => Number.parseInt(digits, 36))
    if (partition === undefined || next === undefined) return null
    if (position.has(partition) || !Number.isSafeInteger(next)) return null
    position.set(partition, next)
  }
  return position
}
