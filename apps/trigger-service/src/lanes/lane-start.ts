/** Offsets a trigger may be behind the furthest and still set where the lane starts; one further behind catches up. */
export const LANE_BEHIND_MAX = 10_000

/**
 * Where a lane starts: at the lowest cursor among those at most {@link LANE_BEHIND_MAX} offsets behind the furthest.
 * One trigger that was paused for a week must not make all others wait while a week is read again.
 * Null when there is no cursor.
 */
export function laneStart(cursors: readonly number[]): number | null {
  const furthest = Math.max(...cursors)
  const near = cursors.filter((cursor) => furthest - cursor <= LANE_BEHIND_MAX)
  return near.length === 0 ? null : Math.min(...near)
}
