export {
  type AnyEventDefinition,
  ApiError,
  type CallOptions,
  Client,
  type ClientOptions,
  defineEvent,
  type Event,
  type EventArguments,
  type EventDefinition,
  type Events,
  HeadraceError,
  type ListOptions,
  type NewEvent,
  type PublishedEvent,
  PublishError,
  type PublishFailure,
  type ResultOptions,
  type Run,
  RunFailedError,
  type RunHandle,
  RunNotEndedError,
  type Runs,
  type SchemaFault,
  SchemaValidationError,
  type StartEvent,
  type StartOptions,
} from './client/index.ts'
export { DuplicateStepKeyError, ReplayMismatchError, RunCancelledError } from './errors/run-error.ts'
export {
  ChildRunError,
  LimitExceededError,
  NonRetryableError,
  RetryAfterError,
  StepFailedError,
  StepOutputError,
  WaitTimeoutError,
} from './errors/step-error.ts'
export { type Logger, Worker, type WorkerOptions } from './worker/index.ts'
export type { RunInfo, RunLog, StepAttempt, StepOptions, Steps, WorkflowContext } from './workflow/context.ts'
export type { DataOf } from './workflow/define-event.ts'
export type { Jsonify } from './workflow/jsonify.ts'
export type { Retries } from './workflow/retries.ts'
export type {
  ChildRun,
  InvokeOptions,
  StepEvent,
  StepEventArguments,
  SuspendOptions,
  WaitArguments,
  WaitOptions,
} from './workflow/step-options.ts'
export type { CancelOn } from './workflow/cancel-on.ts'
export type { Timeouts } from './workflow/timeouts.ts'
export type { SchemaInput, SchemaOutput, StandardSchema } from './workflow/standard-schema.ts'
export {
  type AnyWorkflow,
  type DirectOptions,
  type TriggeredInput,
  type TriggeredOptions,
  type Workflow,
  workflow,
} from './workflow/workflow.ts'
export type { Duration } from '@headrace/schemas'
