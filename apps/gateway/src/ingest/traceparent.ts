/** W3C Trace Context, version 00: version-trace-parent-flags. */
const shape = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/

/**
 * The request's `traceparent`, or null. A malformed one is left out and not refused: the specification asks that
 * a trace which cannot be read is begun anew, and nobody's event should be lost for it.
 */
export function parseTraceparent(header: string | string[] | undefined): string | null {
  if (typeof header !== 'string') return null
  const match = shape.exec(header)
  if (!match || /^0+$/.test(match[1] ?? '') || /^0+$/.test(match[2] ?? '')) return null
  return header
}
