import type { ClaimedRun, Command, CommandReply, PauseReason } from '@headrace/schemas'
import type { LazyAbort } from './lazy-abort.ts'
import type { RunHost } from './run-host.ts'
import type { RunMachine } from './run-machine.ts'
import type { RunTrace } from './run-trace.ts'
import type { Outcome } from './step-outcome.ts'

/** What the parts of an execution (run-bodies.ts, run-waits.ts) share, and what they ask of it. */
export interface RunParts {
  readonly claimed: ClaimedRun
  readonly host: RunHost
  readonly machine: RunMachine
  readonly trace: RunTrace
  /** `ctx.signal`. */
  readonly abort: LazyAbort
  /** The run is to be given back at its next step boundary: nothing more is begun, and pauses are cut short. */
  readonly hurry: LazyAbort
  /** False once the run ends, parks, is held, or is out of this worker's hands. */
  readonly isRunning: () => boolean
  /** It is being given back, or is out of this worker's hands: no answer matters any more. */
  readonly isLeaving: () => boolean
  /** `answered` is not called once the link is gone. */
  readonly send: (command: Command, answered: (reply: CommandReply) => void) => void
  /** The result that is handed out under the key. */
  readonly keep: (key: string, outcome: Outcome) => void
  /** A step may start now. */
  readonly begin: (key: string) => void
  /** Hands out what is next, if the code is at rest. */
  readonly handOut: () => void
  /** Something has come to its end: hands out what is next, or lets the run go if nothing moves it here. */
  readonly goOn: () => void
  /** A step was kept from starting, for the hurry. */
  readonly withhold: () => void
  readonly fail: (error: unknown) => void
  /** Once no body runs any more. `stepKey`: the step at which it stops. */
  readonly pause: (reason: PauseReason, error: unknown, stepKey: string) => void
  /** A step that runs out of attempts pauses the run, instead of throwing into the workflow. */
  readonly pausesExhausted: boolean
  readonly giveBack: () => void
  /** The answer fits no run in this worker's hands. */
  readonly notOurs: (reply: CommandReply) => void
}
