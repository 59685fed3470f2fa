import type { RetryPolicy } from '@headrace/core'
import type { ClaimedRun, PublishedEvent as WirePublished, WireEvent } from '@headrace/schemas'
import type {
  RunInfo,
  RunLog,
  StepAttempt,
  StepOptions,
  Steps,
  WorkflowContext,
} from '../workflow/context.ts'
import { type EventDefinition, isEventDefinition } from '../workflow/define-event.ts'
import { type Event, eventOf, type PublishedEvent, publishedOf } from '../workflow/event.ts'
import { retryPolicyOf } from '../workflow/retries.ts'
import { validate } from '../workflow/standard-schema.ts'
import type { InvokeOptions, StepEvent, StepEventArguments, WaitOptions } from '../workflow/step-options.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import { callOwed, invoke, invokeAndWait, suspend, type Suspension } from './child-steps.ts'
import type { LazyAbort } from './lazy-abort.ts'
import type { Logger, RunHost } from './run-host.ts'
import { eventWaitOf, publishCallOf, sleepCallOf, sleepUntilCallOf, topicOfWait } from './step-arguments.ts'
import { traceField } from './run-notes.ts'
import type { RunTrace } from './run-trace.ts'
import type { StepCall } from './step-call.ts'

export interface ContextParams {
  claimed: ClaimedRun
  policy: Readonly<RetryPolicy>
  host: RunHost
  abort: LazyAbort
  trace: RunTrace
  /** True while lines would repeat what was logged before. */
  silent: () => boolean
  call: (step: StepCall) => Promise<unknown>
  /** An owed step is about to be called; returns how to say that it was, or will not be. */
  prepare: () => () => void
}

/** The `ctx` of one try of a handler. */
export function createContext(params: ContextParams): WorkflowContext {
  const { claimed, abort } = params
  return {
    step: stepsOf(params),
    run: runInfoOf(claimed),
    log: runLogOf(params),
    get signal() {
      return abort.signal
    },
  }
}

function stepsOf(params: ContextParams): Steps {
  const { call, policy, host } = params
  const run = async (
    key: string,
    body: (attempt: StepAttempt) => unknown,
    options?: StepOptions,
  ): Promise<unknown> => {
    const own = options?.retries
    const stepPolicy = own === undefined ? policy : retryPolicyOf(own, `step "${key}"`, policy)
    return await call({ key, kind: 'run', body, policy: stepPolicy })
  }
  // What is handed out under the key is what this body returned once: the type says so.
  const value = async <Value>(key: string, make: () => Value): Promise<Value> =>
    (await call({ key, kind: 'value', make })) as Value
  const sleep = async (make: () => StepCall): Promise<void> => {
    await call(make())
  }
  return {
    run: ((key, body, options) => observed(run(key, body, options))) as Steps['run'],
    publishEvent: (key: string, subject: Publishable, event?: TypedEvent) =>
      observed(publishEvent(params, key, subject, event)),
    waitForEvent: (key: string, subject: Awaitable, options?: TypedWait) =>
      observed(waitForEvent(params, key, subject, options)),
    sleep: (key, duration) => observed(sleep(() => sleepCallOf(key, duration))),
    sleepUntil: (key, time) => observed(sleep(() => sleepUntilCallOf(key, time, host.now()))),
    invoke: (key: string, workflow: AnyWorkflow | string, input?: unknown) =>
      observed(invoke(params, key, workflow, input)),
    invokeAndWait: (key: string, workflow: AnyWorkflow | string, input?: unknown, options?: InvokeOptions) =>
      observed(invokeAndWait(params, key, workflow, input, options)),
    suspend: (key: string, options?: Suspension) => observed(suspend(params, key, options)),
    uuid: (key) => observed(value(key, () => host.uuid())),
    now: (key) => observed(value(key, () => host.now()).then((ms) => new Date(ms))),
    random: (key) => observed(value(key, () => host.random())),
  }
}

type TypedEvent = StepEventArguments<string, unknown>
type TypedWait = WaitOptions & { params?: Record<string, string> | undefined }
type Publishable = EventDefinition | StepEvent
type Awaitable = EventDefinition | (WaitOptions & { topic: string })

async function publishEvent(
  params: ContextParams,
  key: string,
  subject: Publishable,
  typed: TypedEvent | undefined,
): Promise<PublishedEvent> {
  const published = await callOwed(params, () =>
    isEventDefinition(subject)
      ? definedEvent(key, subject, typed).then((event) => publishCallOf(key, event))
      : publishCallOf(key, subject),
  )
  return publishedOf(published as WirePublished)
}

async function definedEvent(
  key: string,
  definition: EventDefinition,
  typed: TypedEvent | undefined,
): Promise<StepEvent> {
  const event = definition.event(typed ?? { data: undefined })
  const { schema } = definition
  const subject = `step "${key}": an event of ${event.topic}`
  if (schema !== null) await validate({ schema, value: event.data, subject, at: ['data'] })
  return event
}

async function waitForEvent(
  { call }: ContextParams,
  key: string,
  subject: Awaitable,
  typed: TypedWait | undefined,
): Promise<Event> {
  const definition = isEventDefinition(subject) ? subject : null
  const wait = isEventDefinition(subject)
    ? eventWaitOf(key, topicOfWait(key, subject.pattern, typed?.params), typed ?? {})
    : eventWaitOf(key, subject.topic, subject)
  const event = eventOf((await call(wait)) as WireEvent)
  if (definition === null || definition.schema === null) return event
  const told = `step "${key}": event ${event.id}`
  const data = await validate({
    schema: definition.schema,
    value: event.data,
    subject: told,
    at: ['data'],
  })
  return { ...event, data }
}

/** A step that fails while the code awaits another one would be an unhandled rejection and end the whole worker. */
function observed<Value>(result: Promise<Value>): Promise<Value> {
  result.catch(() => {})
  return result
}

function runInfoOf(claimed: ClaimedRun): RunInfo {
  const { trigger } = claimed
  return {
    id: claimed.run_id,
    workflow: claimed.workflow,
    build: claimed.build,
    attempt: claimed.attempt,
    epoch: claimed.epoch,
    startedAt: new Date(claimed.started_at),
    tags: claimed.tags,
    trigger: trigger && {
      id: trigger.id,
      stream: trigger.stream,
      partition: trigger.partition,
      firstSequenceId: trigger.first_sequence_id,
      lastSequenceId: trigger.last_sequence_id,
    },
    parentRunId: claimed.parent_run_id,
    traceparent: claimed.traceparent,
  }
}

function runLogOf({ host: { log }, claimed, trace, silent }: ContextParams): RunLog {
  const { run_id, workflow, epoch } = claimed
  const own = { run_id, workflow, epoch, ...traceField(trace) }
  const at = (level: keyof Logger) => (message: string, fields?: Record<string, unknown>) => {
    if (!silent()) log[level]({ event: 'run.log', ...fields, ...own }, message)
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
