import type { Duration } from '@headrace/schemas'
import type { ParamsOf } from './define-event.ts'
import type { NewEvent } from './event.ts'

/** How a `waitForEvent` waits. */
export interface WaitOptions {
  /** Seconds, or `'5m'`; at most 366 days, default 24 h. When it is over, `WaitTimeoutError` is thrown. */
  timeout?: Duration
  /** A filter in CEL over `event`: `'event.data.approved == true'`. An event that does not pass does not answer. */
  if?: string
  /**
   * From when on events answer. `'run'`, the default: since the run began, which is the time of its last event, or of the
   * call that started it; its own events never answer. A `Date`, or so long before the wait is first reached: `'10m'`.
   * Of events older than the look-back (24 h) only the latest of the topic is found.
   */
  since?: 'run' | Date | Duration
}

/** What waiting for a defined event needs: `params` where its topic has any. */
export type WaitArguments<Pattern extends string> =
  unknown extends ParamsOf<Pattern>
    ? [options?: WaitOptions & { params?: undefined }]
    : [options: WaitOptions & { params: ParamsOf<Pattern> }]

/** How an `invokeAndWait` waits. */
export interface InvokeOptions {
  /**
   * Seconds, or `'5m'`; at most 366 days, which is the default: as long as it takes. When it is over, `WaitTimeoutError` is
   * thrown; the child run goes on.
   */
  timeout?: Duration
}

/** How a `suspend` waits. */
export interface SuspendOptions {
  /** Seconds, or `'5m'`; at most 366 days, default 24 h. When it is over, `WaitTimeoutError` is thrown. */
  timeout?: Duration
}

/** A run that a step started. */
export interface ChildRun {
  readonly id: string
  readonly workflow: string
}

/** An event to publish from inside a run: its id is the run's and the step's, its source the run. */
export type StepEvent<Data = unknown> = Omit<NewEvent<Data>, 'id' | 'source'>

/** What publishing a defined event from inside a run needs. */
export type StepEventArguments<Pattern extends string, Input> = Omit<StepEvent<Input>, 'topic'> &
  (unknown extends ParamsOf<Pattern> ? { params?: undefined } : { params: ParamsOf<Pattern> })
