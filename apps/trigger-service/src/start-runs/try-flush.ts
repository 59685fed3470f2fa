import { crashPoint } from '@headrace/core'
import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import type { CursorMove, WindowRun } from '@headrace/store'
import type { RunStore } from './run-store.ts'

/** First and longest pause while Postgres does not answer, or refuses for a reason of its own. */
const PAUSE_FIRST_MS = 50
const PAUSE_MAX_MS = 3_000
/** How often the same outage is said. */
const OUTAGE_LOG_EVERY_MS = 10_000

export interface TryAgain {
  readonly store: RunStore
  readonly log: Logger
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onOutage: (detail: string | null) => void
}

export type Attempt =
  | {
      readonly kind: 'answered'
      readonly moved: readonly { triggerId: string; stream: string; partition: number }[]
      /** A try before this one may have been committed without our knowing. */
      readonly uncertain: boolean
    }
  /** A row of this batch can never be stored; nothing of the batch was. */
  | { readonly kind: 'row'; readonly error: unknown }

/** Tries one flush for as long as it takes. Rejects only when told to stop. */
export async function tryFlush(
  parts: TryAgain,
  batch: { moves: CursorMove[]; runs: WindowRun[] },
): Promise<Attempt> {
  let uncertain = false
  for (let failures = 0; ; failures += 1) {
    parts.signal.throwIfAborted()
    try {
      crashPoint('trigger.before-flush')
      const { moved } = await parts.store.flush(batch)
      crashPoint('trigger.after-flush-before-task')
      if (failures > 0) parts.onOutage(null)
      return { kind: 'answered', moved, uncertain }
    } catch (error) {
      const fault = parts.store.classify(error)
      if (fault === 'row') return { kind: 'row', error }
      // A deadlock or a missing partition rolled the statement back for certain; a lost connection says nothing.
      if (fault === 'outage' || fault === 'bug') uncertain = true
      await pause(parts, error, failures)
    }
  }
}

/** Asks Postgres until it answers. Rejects only when told to stop. */
export async function tryUntilAnswered<Answer>(parts: TryAgain, ask: () => Promise<Answer>): Promise<Answer> {
  for (let failures = 0; ; failures += 1) {
    parts.signal.throwIfAborted()
    try {
      return await ask()
    } catch (error) {
      await pause(parts, error, failures)
    }
  }
}

async function pause(
  { log, clock, signal, store, onOutage }: TryAgain,
  error: unknown,
  failures: number,
): Promise<void> {
  const fault = store.classify(error)
  onOutage(`flush: ${codeOf(error)}`)
  limited(log, `flush/${fault}`, OUTAGE_LOG_EVERY_MS, clock)[fault === 'bug' ? 'error' : 'warn'](
    { event: 'flush.delayed', code: codeOf(error), fault, failures: failures + 1, err: error },
    'windows could not be stored; trying again',
  )
  await clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** failures), signal)
}
