import type { RetryPolicy } from '@headrace/core'
import { compileFilter, compileWindowKey, defaultRetryPolicy } from '@headrace/core'
import { faultsOf, limits, type WorkflowDefinition, workflowDefinitionSchema } from '@headrace/schemas'
import { type CancelOn, cancelOnOf } from './cancel-on.ts'
import type { WorkflowContext } from './context.ts'
import { type AnyEventDefinition, type DataOf, isEventDefinition } from './define-event.ts'
import type { Event, StartEvent } from './event.ts'
import type { Jsonify } from './jsonify.ts'
import { type Timeouts, timeoutsOf } from './timeouts.ts'
import { type Retries, retryPolicyOf } from './retries.ts'
import type { SchemaInput, SchemaOutput, StandardSchema } from './standard-schema.ts'

interface CommonOptions {
  /** 1 to 100 letters, digits, `_ . -`; the name for ever: runs and triggers are found by it. */
  id: string
  /** The queue whose workers run it; default `default`. Letters, digits, `_ -`, at most 60. */
  queue?: string
  /**
   * The retries of every step that does not bring its own. When given, an error of the handler's own code (outside
   * steps) also makes the handler replay from its stored steps, as often; without it such an error fails the run.
   */
  retries?: Retries
  /** Ends runs that take too long. Default: none does. */
  timeouts?: Timeouts
  /**
   * At most `limit` of its runs are under way at a time (1 to 1,000), those that wait or are paused too; of each value of
   * `key`, where there is one: CEL over `event` (docs/filters.md), as in `event.data.customer_id`. The others are held, and
   * let in by the order of their windows: with a `limit` of 1 the runs of a key go one after the other. `event` is the first
   * event of the run; of a run without events, `event.data` is its input. Default: no limit.
   */
  concurrency?: { limit: number; key?: string }
  /**
   * Events that cancel its runs, at most 5 rules: an event on one of these topics ends each live run for which its `if` is
   * true, as `client.runs.cancel` does. Events count from when the run began (docs/guarantees.md, P5). Default: none do.
   */
  cancelOn?: readonly CancelOn[]
  /** May runs that began on one build go on with another? Default `upgrade`; with `pin` only workers of the same build take them. */
  onDeploy?: 'upgrade' | 'pin'
  /**
   * When the attempts of a step, or of the handler, are used up: `fail` (default) throws `StepFailedError` into the
   * workflow, and fails the run; `pause` pauses the run, with the error, and a resume tries as often again. An error with
   * `retryable: false` is thrown either way.
   */
  onExhausted?: 'fail' | 'pause'
}

/** Options of a workflow that events start. */
export interface TriggeredOptions<Source extends string | AnyEventDefinition> extends CommonOptions {
  /** A topic, a pattern (`orders/*`, `approvals/{id}`, `orders/**`), or what `defineEvent` made. */
  triggerOnEvent: Source
  /** CEL over `event` (docs/filters.md): an event on which it is not true starts nothing. Default: every event does. */
  if?: string
  /**
   * CEL over `event` that gives a text, a number or a boolean: the events of a run are those of one key, as in
   * `event.data.customer_id`. Default: a window takes whatever comes.
   */
  key?: string
  /** Events of one run, 1 to 1,000; default 1. A window also closes at `batchMaxBytes`. */
  batchSize?: number
  /** Closes a window that is not full so long after its first event; up to 24 h. Default: it waits until it is full; with a `key`, 24 h. */
  batchTimeoutSeconds?: number
  /** Bytes of `data` that close a window; default and at most 1 MiB. */
  batchMaxBytes?: number
  /**
   * What to do on a partition whose log lost events before they were seen (retention), or was cut or made anew. `stop`, the
   * default: the trigger stops there and says why, until somebody resets it. `continue`: it goes on with what is left.
   */
  onGap?: 'stop' | 'continue'
  input?: undefined
  output?: undefined
}

/** Options of a workflow that is started by `client.runs.start`. */
export interface DirectOptions<
  Input extends StandardSchema | undefined,
  Output extends StandardSchema | undefined,
> extends CommonOptions {
  triggerOnEvent?: undefined
  /** Checked before the handler starts; it gets the schema's output. Without one the input is `unknown`. */
  input?: Input
  /** Checked when the handler returns. */
  output?: Output
}

/** The input of a triggered workflow: always a list, also when there is one event. */
export interface TriggeredInput<Data> {
  readonly events: readonly [Event<Data>, ...Event<Data>[]]
}

/** A workflow, made by {@link workflow}. `Start` is what `client.runs.start` takes, `Output` what a run returns. */
export interface Workflow<Start = unknown, Output = unknown> {
  readonly id: string
  readonly definition: WorkflowDefinition
  readonly retries: Readonly<RetryPolicy>
  /** True when the workflow was given `retries`: its handler is replayed too. */
  readonly retriesHandler: boolean
  readonly onExhausted: 'fail' | 'pause'
  readonly event: AnyEventDefinition | null
  /** All that it was given: of its trigger, and those that cancel its runs. */
  readonly events: readonly AnyEventDefinition[]
  readonly inputSchema: StandardSchema | null
  readonly outputSchema: StandardSchema | null
  // `never`: a handler of any input is a Workflow; who calls it has checked what it passes.
  readonly handler: (ctx: WorkflowContext, input: never) => unknown
  /** Carries types only; there is no such value. */
  readonly types?: { readonly start: Start; readonly output: Output }
}

/** What may stand in `new Worker({ workflows })`. */
export type AnyWorkflow = Omit<Workflow, 'types'>

type DataOfSource<Source> = Source extends AnyEventDefinition ? DataOf<Source> : unknown
type InputOf<Schema> = Schema extends StandardSchema ? SchemaInput<Schema> : unknown
type HandlerInput<Schema> = Schema extends StandardSchema ? SchemaOutput<Schema> : unknown
type HandlerOutput<Schema, Result> = Schema extends StandardSchema ? SchemaInput<Schema> : Result

/**
 * Defines a workflow: an ordinary async function whose steps are stored, so that a run survives any crash and goes on
 * from its last stored step.
 *
 * ```ts
 * export const onOrderCreated = workflow(
 *   { id: 'on_order_created', triggerOnEvent: orderCreated, retries: { maxAttempts: 4 } },
 *   async (ctx, { events }) => {
 *     const order = events[0].data
 *     return await ctx.step.run('charge', () => charge(order))
 *   },
 * )
 * export const report = workflow({ id: 'report', input: z.object({ day: z.string() }) }, async (ctx, { day }) => …)
 * ```
 *
 * The input is at most 1 MiB. What the handler returns is kept as JSON (at most 1 MiB); what it throws fails the run.
 * Throws TypeError when an option is malformed; the message names it.
 */
export function workflow<const Source extends string | AnyEventDefinition, Result>(
  options: TriggeredOptions<Source>,
  handler: (
    ctx: WorkflowContext,
    input: TriggeredInput<DataOfSource<Source>>,
  ) => Result | PromiseLike<Result>,
): Workflow<
  { events: readonly [StartEvent<DataOfSource<Source>>, ...StartEvent<DataOfSource<Source>>[]] },
  Jsonify<Awaited<Result>>
>
export function workflow<
  Result extends HandlerOutput<Output, unknown>,
  Input extends StandardSchema | undefined = undefined,
  Output extends StandardSchema | undefined = undefined,
>(
  options: DirectOptions<Input, Output>,
  handler: (ctx: WorkflowContext, input: HandlerInput<Input>) => Result | PromiseLike<Result>,
): Workflow<
  InputOf<Input>,
  Output extends StandardSchema ? Jsonify<SchemaInput<Output>> : Jsonify<Awaited<Result>>
>
export function workflow(
  options:
    | TriggeredOptions<string | AnyEventDefinition>
    | DirectOptions<StandardSchema | undefined, StandardSchema | undefined>,
  handler: (ctx: WorkflowContext, input: never) => unknown,
): Workflow {
  const subject = `workflow "${options.id}"`
  return {
    id: options.id,
    definition: definitionOf(options, subject),
    retries: retryPolicyOf(options.retries, subject, defaultRetryPolicy),
    retriesHandler: options.retries !== undefined,
    onExhausted: onExhaustedOf(options.onExhausted, subject),
    event: isEventDefinition(options.triggerOnEvent) ? options.triggerOnEvent : null,
    events: [options.triggerOnEvent, ...(options.cancelOn ?? []).map(({ event }) => event)].filter(
      isEventDefinition,
    ),
    inputSchema: options.input ?? null,
    outputSchema: options.output ?? null,
    handler,
  }
}

function definitionOf(
  options:
    | TriggeredOptions<string | AnyEventDefinition>
    | DirectOptions<StandardSchema | undefined, StandardSchema | undefined>,
  subject: string,
): WorkflowDefinition {
  const key = options.concurrency?.key
  if (key !== undefined) checkExpression(`${subject}: concurrency.key`, key, compileWindowKey)
  const parsed = workflowDefinitionSchema.safeParse({
    id: options.id,
    queue: options.queue ?? 'default',
    triggers: options.triggerOnEvent === undefined ? [] : [triggerOf(options, subject)],
    on_deploy: options.onDeploy ?? 'upgrade',
    ...timeoutsOf(options.timeouts, subject),
    ...cancelOnOf(options.cancelOn, subject),
    ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
  })
  if (parsed.success) return parsed.data
  const faults = faultsOf(parsed.error).map(
    (fault) => `${optionNames[fault.pointer] ?? fault.pointer} ${fault.detail}`,
  )
  throw new TypeError(`${subject}: ${faults.join('; ')}`)
}

function triggerOf(options: TriggeredOptions<string | AnyEventDefinition>, subject: string) {
  const source = options.triggerOnEvent
  const { if: filter, key, batchTimeoutSeconds } = options
  // Said here, where the author is, and again by the registration.
  if (filter !== undefined) checkExpression(`${subject}: if`, filter, compileFilter)
  if (key !== undefined) checkExpression(`${subject}: key`, key, compileWindowKey)
  const timeoutMsDefault = key === undefined ? null : limits.windowTimeoutMsMax
  return {
    id: options.id,
    pattern: isEventDefinition(source) ? source.pattern : source,
    window: {
      size: options.batchSize ?? 1,
      timeout_ms:
        batchTimeoutSeconds === undefined ? timeoutMsDefault : Math.round(batchTimeoutSeconds * 1_000),
      max_bytes: options.batchMaxBytes ?? limits.windowBytesMax,
      ...(key === undefined ? {} : { key }),
    },
    ...(filter === undefined ? {} : { if: filter }),
    ...(options.onGap === undefined ? {} : { on_gap: options.onGap }),
  }
}

function checkExpression(
  name: string,
  text: string,
  compile: (text: string) => { kind: 'ok' } | { kind: 'invalid'; reason: string },
): void {
  // Whoever writes JavaScript may pass anything.
  if (typeof text !== 'string') throw new TypeError(`${name} must be a text`)
  const compiled = compile(text)
  if (compiled.kind === 'invalid')
    throw new TypeError(`${name} is no expression of CEL that may stand here: ${compiled.reason}`)
}

/** Of the worker alone: nobody else tries anything again. Whoever writes JavaScript may pass anything. */
function onExhaustedOf(given: unknown, subject: string): 'fail' | 'pause' {
  if (given === undefined || given === 'fail') return 'fail'
  if (given === 'pause') return given
  throw new TypeError(`${subject}: onExhausted must be "fail" or "pause", not ${JSON.stringify(given)}`)
}

/** What the user wrote, for what the wire calls it. */
const optionNames: Record<string, string> = {
  '/id': 'id',
  '/queue': 'queue',
  '/on_deploy': 'onDeploy',
  '/timeouts/start_ms': 'timeouts.start',
  '/timeouts/run_ms': 'timeouts.run',
  '/concurrency': 'concurrency',
  '/concurrency/limit': 'concurrency.limit',
  '/concurrency/key': 'concurrency.key',
  '/triggers/0/id': 'id',
  '/triggers/0/pattern': 'triggerOnEvent',
  '/triggers/0/window/size': 'batchSize',
  '/triggers/0/window/timeout_ms': 'batchTimeoutSeconds',
  '/triggers/0/window/max_bytes': 'batchMaxBytes',
  '/triggers/0/window/key': 'key',
  '/triggers/0/if': 'if',
  '/triggers/0/on_gap': 'onGap',
}
