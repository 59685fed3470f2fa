import { checkpoint, crashPoint } from '@headrace/core'
import { type Clock, createDuty, type Logger, type Metrics } from '@headrace/service'
import { answerChildren, type Answered, endedChildWaits, type Store, type WaitRef } from '@headrace/store'
import type { OrchestratorMetrics } from '../metrics.ts'

/**
 * The ends of child runs answer the waits of their parents.
 *
 * E1  an end is committed, then matched: the wait was committed with the child, so it is there
 * E2  the matching is never awaited by whoever ended the child, whose answer does not hang on it
 * E3  what is lost with this process is found by a sweep, of any instance
 */
export interface ChildEnds {
  /** Runs that these steps started have ended, by a commit of this instance's. */
  ended(parents: readonly WaitRef[]): void
  start(): void
  /** Answers what is left first. */
  stop(): Promise<void>
}

export interface ChildEndsOptions {
  store: Store
  answered: (outcome: Answered) => void
  counts: Pick<OrchestratorMetrics, 'sweptWaits'>
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** The most that a parent waits longer for it when who ended its child has died. */
const SWEEP_EVERY_MS = 5_000
/** Waits of one look, of which few have ended. */
const SWEEP_MAX = 1_000
/** Waits of one statement, each with what its child returned. */
const ANSWERS_MAX = 200
/** Beyond it Postgres has been away for long: the sweep finds the others. */
const WAITING_MAX = 10_000

export function createChildEnds({ store, answered, counts, ...shared }: ChildEndsOptions): ChildEnds {
  let waiting: WaitRef[] = []

  async function answer(): Promise<'again' | null> {
    const parents = waiting.splice(0, ANSWERS_MAX)
    if (parents.length === 0) return null
    crashPoint('child.before-match')
    const held = checkpoint('child.before-match')
    if (held) await held
    answered(await answerChildren(store, parents))
    return waiting.length > 0 ? 'again' : null
  }

  async function sweep(signal: AbortSignal): Promise<void> {
    let after: string | null = null
    do {
      const page: Awaited<ReturnType<typeof endedChildWaits>> = await endedChildWaits(store, {
        after,
        limit: SWEEP_MAX,
      })
      for (let from = 0; from < page.refs.length; from += ANSWERS_MAX) {
        const outcome = await answerChildren(store, page.refs.slice(from, from + ANSWERS_MAX))
        // Those of parents that have ended stay: they are cancelled by another sweep.
        counts.sweptWaits.inc({ kind: 'child' }, outcome.answers.length)
        answered(outcome)
      }
      after = page.next
    } while (after !== null && !signal.aborted)
  }

  const answering = createDuty({
    ...shared,
    name: 'children.answer',
    everyMs: SWEEP_EVERY_MS,
    runOnce: answer,
  })
  const sweeping = createDuty({ ...shared, name: 'children.sweep', everyMs: SWEEP_EVERY_MS, runOnce: sweep })

  return {
    ended(parents) {
      if (parents.length === 0) return
      waiting = [...waiting, ...parents].slice(-WAITING_MAX)
      answering.poke()
    },
    start() {
      answering.start()
      sweeping.start()
    },
    async stop() {
      await Promise.all([answering.stop(), sweeping.stop()])
      try {
        while (waiting.length > 0) await answer()
      } catch {
        // Postgres is away: E3.
      }
    },
  }
}
