/**
 * The life of a run: every transition is decided here, in one pure function. The guarded statements of libs/store repeat
 * the same rules in SQL, where they hold against others at the same moment; tests compare the two.
 *
 *   queued ──claim──▶ running ──complete──▶ completed
 *     ▲                 │ │ └────fail─────▶ failed
 *     │◀── release ─────┘ │
 *     │◀── worker_lost ───┤ (the fifth time ──▶ failed)
 *     │◀── forgotten ─────┤
 *     │                   ├─worker_pause─▶ paused
 *     │                suspend
 *     │                   ▼
 *     └◀──── answer ── waiting
 *   queued, running, waiting ──pause──▶ paused ──resume──▶ queued
 *   queued, running, waiting, paused ──cancel──▶ cancelled, ──time_out──▶ timed_out
 *
 * R1  `epoch` is the fence. It rises by one exactly when the run becomes queued again, and never falls.
 * R2  An ended run never changes (P4): whatever comes later has lost.
 * R3  A running run is moved by its holder alone, the worker that claimed this epoch, or by whoever takes it away from
 *     that worker (loss, pause, cancel, time-out).
 * R4  A claim may be repeated: the same worker at the same epoch gets the run again, every other worker has lost it.
 * R5  What the holder did may be repeated: the answer was lost on the way, not the deed. It is `done`, and changes nothing.
 *     The statements also know by what hand an epoch rose: a run that was taken from its worker is lost to that worker's
 *     release, pause and suspend, though this state alone cannot tell.
 * R6  `wake` counts answers. It never falls, and rises whatever the run is doing, so that a worker that suspends with an
 *     older count is told to look again instead of being parked for ever.
 * R7  `lost` counts workers that died, or hung, with this run in hand. From 2 on it is claimed alone; at 5 it fails: it
 *     kills whoever takes it. Giving it back, or forgetting it, does not count.
 */
export type RunState = { epoch: number; wake: number; lost: number } & (
  | { status: 'queued' | 'waiting' | 'paused' }
  | { status: 'running'; workerId: string }
  /** `workerId`: who ended it; null: nobody's worker did (lost too often, cancelled, timed out). */
  | { status: 'completed' | 'failed' | 'cancelled' | 'timed_out'; workerId: string | null }
)

export type RunStatusName = RunState['status']

/** By a worker that holds the run, or believes that it does. */
type HolderEvent = { epoch: number; workerId: string }

export type RunEvent =
  | ({ kind: 'claim' | 'complete' | 'fail' | 'release' } & HolderEvent)
  /** Its code does not fit the run, or failed too often: a person, or another build, is to go on with it. */
  | ({ kind: 'worker_pause' } & HolderEvent)
  /** `seen`: the answers that the worker knew of when it found that it had to wait. */
  | ({ kind: 'suspend'; seen: number } & HolderEvent)
  /** Its worker was declared dead. */
  | ({ kind: 'worker_lost' } & HolderEvent)
  /** Its worker lives and does not know of it. */
  | ({ kind: 'forgotten' } & HolderEvent)
  /** So many of its waits were answered by one statement. */
  | { kind: 'answer'; count: number }
  | { kind: 'pause' | 'resume' | 'cancel' | 'time_out' }

export type RunTransition =
  | { kind: 'moved'; run: RunState }
  /** It is so already, by the same hand. */
  | { kind: 'done' }
  /** The run is not, or no longer, the caller's to move. A value, not a failure. */
  | { kind: 'lost' }
  /** Answers came that the worker had not seen: it is told them and goes on. */
  | { kind: 'woken'; wake: number }

/** Of a run that is started, and of one that retries another: what it has at epoch 1 was copied from that. */
export const FIRST_EPOCH = 1
export const RETRY_EPOCH = 2

/** Losses after which a run is claimed by a worker that has nothing else in hand. */
export const LOST_CLAIMED_ALONE = 2
/** The loss at which a run is given up: five workers died with it in hand. */
export const LOST_MAX = 5

const endings = new Set<RunStatusName>(['completed', 'failed', 'cancelled', 'timed_out'])
export const isEnded = (status: RunStatusName): boolean => endings.has(status)

/** Must it be the only run in its worker's hands? */
export const claimedAlone = (lost: number): boolean => lost >= LOST_CLAIMED_ALONE

const moved = (run: RunState): RunTransition => ({ kind: 'moved', run })
const DONE: RunTransition = { kind: 'done' }
const LOST: RunTransition = { kind: 'lost' }

/** What becomes of `run` when `event` comes. */
export function runTransition(run: RunState, event: RunEvent): RunTransition {
  switch (event.kind) {
    case 'claim':
      return claim(run, event)
    case 'complete':
      return end(run, event, 'completed')
    case 'fail':
      return end(run, event, 'failed')
    case 'release':
      // R5: at a later epoch it is not in this worker's hands, which is all that a release asks for.
      return holds(run, event) ? moved(requeued(run)) : run.epoch > event.epoch ? DONE : LOST
    case 'worker_pause':
      return workerPause(run, event)
    case 'forgotten':
      return holds(run, event) ? moved(requeued(run)) : LOST
    case 'worker_lost':
      return holds(run, event) ? moved(afterLoss(run)) : LOST
    case 'suspend':
      return suspend(run, event)
    case 'answer':
      return answer(run, event.count)
    case 'pause':
    case 'resume':
    case 'cancel':
    case 'time_out':
      break
  }
  return byPersonOrClock(run, event.kind)
}

/** R3 */
const holds = (run: RunState, { epoch, workerId }: HolderEvent): boolean =>
  run.status === 'running' && run.epoch === epoch && run.workerId === workerId

/** R1 */
const requeued = ({ epoch, wake, lost }: RunState): RunState => ({
  status: 'queued',
  epoch: epoch + 1,
  wake,
  lost,
})

function claim(run: RunState, { epoch, workerId }: HolderEvent): RunTransition {
  if (run.epoch !== epoch) return LOST
  if (run.status === 'queued') return moved({ ...run, status: 'running', workerId })
  // R4
  return run.status === 'running' && run.workerId === workerId ? moved(run) : LOST
}

function end(run: RunState, event: HolderEvent, status: 'completed' | 'failed'): RunTransition {
  if (holds(run, event)) return moved({ ...run, status, workerId: event.workerId })
  // R5: only the same ending is a repetition; a run that failed did not complete.
  const repeated = run.status === status && run.epoch === event.epoch && run.workerId === event.workerId
  return repeated ? DONE : LOST
}

/** R7 */
function afterLoss(run: RunState): RunState {
  const lost = run.lost + 1
  if (lost < LOST_MAX) return requeued({ ...run, lost })
  return { status: 'failed', epoch: run.epoch, wake: run.wake, lost, workerId: null }
}

function suspend(run: RunState, event: HolderEvent & { seen: number }): RunTransition {
  const { epoch, wake, lost } = run
  if (holds(run, event)) {
    // An answer that was never given cannot have been seen.
    if (wake < event.seen) return LOST
    // R6
    return wake === event.seen ? moved({ status: 'waiting', epoch, wake, lost }) : { kind: 'woken', wake }
  }
  // R5: still parked, or at a later epoch: it is not in this worker's hands.
  return (run.status === 'waiting' && epoch === event.epoch) || epoch > event.epoch ? DONE : LOST
}

function workerPause(run: RunState, event: HolderEvent): RunTransition {
  const { epoch, wake, lost } = run
  if (holds(run, event)) return moved({ status: 'paused', epoch, wake, lost })
  // R5: paused still, or resumed since.
  return (run.status === 'paused' && epoch === event.epoch) || epoch > event.epoch ? DONE : LOST
}

function answer(run: RunState, count: number): RunTransition {
  if (isEnded(run.status)) return LOST
  const woken = { ...run, wake: run.wake + count }
  return moved(run.status === 'waiting' ? requeued(woken) : woken)
}

function byPersonOrClock(run: RunState, kind: 'pause' | 'resume' | 'cancel' | 'time_out'): RunTransition {
  // R2
  if (isEnded(run.status)) return LOST
  const { epoch, wake, lost } = run
  if (kind === 'pause') return run.status === 'paused' ? DONE : moved({ status: 'paused', epoch, wake, lost })
  if (kind === 'resume') return run.status === 'paused' ? moved(requeued(run)) : DONE
  return moved({ status: kind === 'cancel' ? 'cancelled' : 'timed_out', epoch, wake, lost, workerId: null })
}
