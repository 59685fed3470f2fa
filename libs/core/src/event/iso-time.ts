let lastMs = Number.NaN
let lastText = ''

/**
 * A time as RFC 3339 in UTC with milliseconds. Events of one batch mostly share their time, and making its text was a
 * third of what encoding them cost: so the last is kept.
 */
export function isoTime(ms: number): string {
  if (ms !== lastMs) {
    lastText = new Date(ms).toISOString()
    lastMs = ms
  }
  return lastText
}
