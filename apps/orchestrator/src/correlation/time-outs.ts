import type { Broker, StreamCatalog } from '@headrace/broker'
import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import {
  dueEventWaits,
  type DueWait,
  loadCorrelatorCursors,
  projectionCursors,
  type Store,
  timeOutWaits,
} from '@headrace/store'
import type { RunEvents } from '../runs/run-events.ts'
import type { SelfRead } from '../waits/self-read.ts'
import { Proofs } from './proofs.ts'

export interface TimeOutsOptions {
  store: Store
  broker: Pick<Broker, 'offsets' | 'stableEnds'>
  prefix: string
  catalog: Pick<StreamCatalog, 'topicOf'>
  selfRead: SelfRead
  events: Pick<RunEvents, 'answered'>
  log: Logger
  clock: Clock
  metrics: Metrics
  /** How long past its time a wait stays open whose proof cannot be had (ms, by Postgres's clock). Default 60 s. */
  graceMs?: number
}

const LOOK_EVERY_MS = 500
const GRACE_MS = 60_000
/** How long Kafka is asked in vain before it is called away: a question takes some 5 s, for which an election may last. */
const AWAY_MS = 10_000
/** Waits of one page of what is due. */
const DUE_MAX = 1_000

/**
 * Times event waits out, never while an accepted answer may be on its way: only with the proof that nothing is
 * ({@link Proofs}), after which the wait reads the responses a last time. Where the projection of the stream stands still,
 * or Kafka cannot be asked, there is no proof: then it times out after a grace, and its error says that it is unverified.
 */
export function createTimeOuts(options: TimeOutsOptions): Duty {
  const { store, broker, prefix, catalog, clock, graceMs = GRACE_MS } = options
  const proofs = new Proofs({
    broker,
    prefix,
    catalog,
    projection: async (streams) => await projectionCursors(store, streams),
    correlator: async () => await loadCorrelatorCursors(store),
    clock,
    graceMs: Math.min(graceMs, AWAY_MS),
  })

  /** Returns why Kafka could not be asked. */
  async function look(due: DueWait[]): Promise<unknown> {
    const { proven, halted, fault } = await proofs.look(due)
    const verified = new Set(proven)
    const late = due.filter(
      (wait) => !verified.has(wait) && wait.overdueMs >= graceMs && halted.has(wait.stream),
    )
    await timeOut(options, proven, late)
    return fault
  }

  return createDuty({
    name: 'waits.time_out',
    everyMs: LOOK_EVERY_MS,
    log: options.log,
    clock,
    metrics: options.metrics,
    runOnce: async (signal) => {
      const streams = new Set<string>()
      let fault: unknown = null
      let page: DueWait[] = []
      proofs.newRound()
      do {
        page = await dueEventWaits(store, { limit: DUE_MAX, after: page.at(-1) ?? null })
        if (page.length === 0) break
        for (const { stream } of page) streams.add(stream)
        fault = await look(page)
      } while (page.length === DUE_MAX && !signal.aborted)
      proofs.keepOnly(streams)
      // Said only now: a stream that Kafka does not tell of keeps no other's waits.
      if (fault !== null) throw fault
    },
  })
}

/**
 * The last look is left to those that read a single row. A wait with a filter would try it on a day of events again, while
 * all others stand behind it: one that has looked, and whose topic the correlator has passed, has been tried on each of
 * them. One that has not yet looked is not timed out before.
 */
async function timeOut(
  { store, selfRead, events, log }: TimeOutsOptions,
  proven: readonly DueWait[],
  late: readonly DueWait[],
): Promise<void> {
  const over = [
    ...proven.map((wait) => ({ ...wait, unverified: false })),
    ...late.map((wait) => ({ ...wait, unverified: true })),
  ].filter(({ filtered, checked }) => !filtered || checked)
  if (over.length === 0) return
  await selfRead(over.filter(({ filtered }) => !filtered))
  const outcome = await timeOutWaits(store, over)
  events.answered(outcome)
  for (const { runId, key, topic, unverified } of outcome.answers) {
    if (!unverified) continue
    log.warn(
      {
        event: 'wait.timed_out',
        code: 'wait_timeout_unverified',
        run_id: runId,
        step_key: key,
        topic: topic ?? undefined,
      },
      'a wait timed out without the proof that no answer was on its way',
    )
  }
}
