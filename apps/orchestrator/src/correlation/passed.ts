/**
 * Has a reader passed these ends? All of them: an end of 0 is passed by who never read. Ends are taken first and cursors
 * read after, so that who passed has read everything that was there when the ends were taken.
 */
export function endsPassed(ends: ReadonlyMap<number, number>, cursors: ReadonlyMap<number, number>): boolean {
  for (const [partition, end] of ends) if ((cursors.get(partition) ?? 0) < end) return false
  return true
}

/**
 * Are these ends of a topic that was made anew since? Then its partitions end before an end of theirs that was taken, or
 * before a cursor. `now`: the ends, taken after both.
 */
export function isBegunAnew(
  now: ReadonlyMap<number, number>,
  ...before: readonly ReadonlyMap<number, number>[]
): boolean {
  return before.some((offsets) => !endsPassed(offsets, now))
}
