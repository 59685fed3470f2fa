const unitMs: Record<string, number> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** A number of seconds, or a number and a unit: `'250ms' '30s' '5m' '1h' '7d' '2w'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd' | 'w'}`

/** Milliseconds of a {@link Duration}, or null where it is none (negative, not finite, unknown unit). */
export function durationMs(duration: number | string): number | null {
  if (typeof duration === 'number')
    return Number.isFinite(duration) && duration >= 0 ? Math.round(duration * 1_000) : null
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/.exec(duration)
  if (!match) return null
  return Math.round(Number(match[1]) * (unitMs[match[2] ?? ''] ?? Number.NaN))
}
