import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import { classify } from '@headrace/store'

const PAUSE_FIRST_MS = 50
const PAUSE_MAX_MS = 3_000
const LOG_EVERY_MS = 10_000

export interface UntilAnswered {
  readonly log: Logger
  readonly clock: Clock
  /** Told of each try that failed because Postgres is away, and null when it answers again. */
  readonly onOutage: (detail: string | null) => void
}

/**
 * Asks Postgres or Kafka until there is an answer: what was not entered must not be passed, and an outage is no reason to
 * set an event aside. Rejects only when `signal` is aborted.
 */
export async function untilAnswered<Answer>(
  { log, clock, onOutage }: UntilAnswered,
  signal: AbortSignal,
  ask: () => Promise<Answer>,
): Promise<Answer> {
  let away = false
  for (let failures = 0; ; failures += 1) {
    signal.throwIfAborted()
    try {
      const answer = await ask()
      if (away) onOutage(null)
      return answer
    } catch (error) {
      signal.throwIfAborted()
      if (classify(error) === 'outage') {
        away = true
        onOutage(`event ids: ${codeOf(error)}`)
      }
      limited(log, 'repeats', LOG_EVERY_MS, clock).warn(
        { event: 'repeats.delayed', code: codeOf(error), failures: failures + 1, err: error },
        'event ids could not be entered; their lanes wait',
      )
      await clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** failures), signal)
    }
  }
}
