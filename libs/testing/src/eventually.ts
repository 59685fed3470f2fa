import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'

/** Between two looks. Short, since a look that is too early costs little. */
const LOOK_EVERY_MS = 25
/** Ten times what is usual: a slow machine must never be a failed test. */
const DEADLINE_DEFAULT_MS = 60_000

export interface EventuallyOptions {
  deadlineMs?: number
}

/**
 * Looks until `look` gives something truthy, and returns that. A throw counts as "not yet". At the deadline it
 * rejects, with the description and the last thing seen.
 */
export async function eventually<Found>(
  description: string,
  look: () => Promise<Found> | Found,
  { deadlineMs = DEADLINE_DEFAULT_MS }: EventuallyOptions = {},
): Promise<Exclude<Found, false | null | undefined | 0 | ''>> {
  const endMs = performance.now() + deadlineMs
  for (;;) {
    let seen: unknown
    try {
      const found = await look()
      if (found) return found as Exclude<Found, false | null | undefined | 0 | ''>
      seen = found
    } catch (error) {
      seen = error
    }
    if (performance.now() >= endMs) {
      throw new Error(`not within ${deadlineMs} ms: ${description}; last seen: ${inspect(seen)}`, {
        cause: seen,
      })
    }
    await delay(LOOK_EVERY_MS)
  }
}
