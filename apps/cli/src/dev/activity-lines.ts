import type { Activity, Clock } from '@headrace/service'

/** Lines a second before the rest is summed up: more cannot be read, and printing would slow what it tells of. */
const LINES_PER_SECOND_MAX = 50

/** One line per event accepted, run started, run ended; a flood is cut and counted. */
export function activityLines(write: (line: string) => void, clock: Pick<Clock, 'now' | 'every'>): Activity {
  let second = 0
  let printed = 0
  let held = 0
  let stopCounting: (() => void) | null = null
  const tellHeld = (): void => {
    stopCounting?.()
    stopCounting = null
    if (held > 0) write(`             … and ${held} more`)
    held = 0
  }
  const line = (text: string): void => {
    const at = clock.now()
    const current = Math.floor(at / 1_000)
    if (current !== second) {
      tellHeld()
      second = current
      printed = 0
    }
    if (printed >= LINES_PER_SECOND_MAX) {
      held += 1
      // The flood may end with this line: then no other comes to tell of it.
      stopCounting ??= clock.every(1_000, tellHeld)
    } else {
      printed += 1
      write(`${new Date(at).toISOString().slice(11, 23)} ${text}`)
    }
  }
  return {
    eventAccepted: ({ topic, partition, sequenceId }) =>
      line(`event  ${topic}  partition ${partition}, sequence id ${sequenceId}`),
    runStarted: ({ runId, workflow }) => line(`run    ${workflow} started  ${runId}`),
    runEnded: ({ runId, workflow, status, ms }) =>
      line(`run    ${workflow} ${status} after ${ms} ms  ${runId}`),
  }
}
