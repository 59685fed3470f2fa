import type { RetryPolicy } from '@headrace/core'
import type { InvokeCommand, PublishCommand, WaitCommand } from '@headrace/schemas'
import type { StepAttempt } from '../workflow/context.ts'

/** A step as the workflow's code called it, its arguments checked. */
export type StepCall = RunCall | ValueCall | PublishCall | InvokeCall | WaitCall

export interface RunCall {
  readonly kind: 'run'
  readonly key: string
  readonly body: (attempt: StepAttempt) => unknown
  readonly policy: Readonly<RetryPolicy>
}

/** Made on the spot; does nothing outside. */
export interface ValueCall {
  readonly kind: 'value'
  readonly key: string
  readonly make: () => unknown
}

/** Its body is the orchestrator's. */
export interface PublishCall {
  readonly kind: 'publish'
  readonly key: string
  readonly event: Pick<PublishCommand, 'topic' | 'event_type' | 'data' | 'event_key'>
}

/** Its body, the start of a child run, is the orchestrator's. */
export interface InvokeCall {
  readonly kind: 'invoke'
  readonly key: string
  readonly child: Pick<InvokeCommand, 'workflow' | 'input'>
}

/** Answered from outside. */
export interface WaitCall {
  readonly kind: 'event' | 'time' | 'child' | 'resume'
  readonly key: string
  readonly wait: WaitCommand['wait']
}
