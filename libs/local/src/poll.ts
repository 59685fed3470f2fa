import { setTimeout as delay } from 'node:timers/promises'

/** Between two looks at a file, a port or a process: short beside the 0.6 s a Postgres takes to start. */
const POLL_MS = 20

/** Looks until `look` gives something but null, or until the deadline: then null. */
export async function poll<Found>(
  look: () => Promise<Found | null> | Found | null,
  deadlineMs: number,
): Promise<Found | null> {
  const endMs = performance.now() + deadlineMs
  for (;;) {
    const found = await look()
    if (found !== null) return found
    if (performance.now() >= endMs) return null
    await delay(POLL_MS)
  }
}
