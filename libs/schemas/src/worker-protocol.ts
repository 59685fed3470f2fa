import { z } from 'zod'
import { type PublishedEvent, topicSchema } from './event.ts'
import { eventTypeBodySchema, type EventTypeWarning } from './event-type.ts'
import { limits } from './limits.ts'
import { stepKinds } from './run.ts'
import { nameSchema, queueSchema, workflowDefinitionSchema } from './workflow.ts'

/**
 * The worker protocol, version 1 (header `Headrace-Protocol: 1`): internal, JSON over HTTP.
 * Payloads (input, output, error) travel as JSON text inside a string, so that no one in between parses them.
 * Every command is answered alone, at the same index.
 */
export const protocolVersion = '1'
export const protocolHeader = 'headrace-protocol'

const workerIdSchema = z.string().min(1).max(100)

export const registerRequestSchema = z.strictObject({
  worker_id: workerIdSchema,
  app: nameSchema,
  build: z.string().min(1).max(100),
  queue: queueSchema,
  host: z.string().max(255),
  sdk: z.string().max(50),
  concurrency: z.int().min(1).max(limits.workerConcurrencyMax),
  /** The whole set this build has: what is absent from the newest build is retired. */
  workflows: z.array(workflowDefinitionSchema).max(limits.workflowsPerWorkerMax),
  /** Those with a schema, of events that its workflows read or write. What is absent stays as it is registered. */
  event_types: z.array(eventTypeBodySchema).max(limits.eventTypesPerWorkerMax).default([]),
  /**
   * The id of this very process before it lost its orchestrator. It has dropped all that it had in hand, so those runs go
   * back at once, instead of when that id is declared dead; and not as losses, which would count against them.
   */
  replaces: workerIdSchema.optional(),
})
/** As it is sent. */
export type RegisterRequest = z.input<typeof registerRequestSchema>
/** As it was read. */
export type WorkerRegistration = z.output<typeof registerRequestSchema>

export interface RegisterReply {
  worker_id: string
  /** Where commands and heartbeats go; the worker falls back to the gateway when it cannot be reached. */
  orchestrator_url: string
  kafka_brokers: string[]
  task_topic: string
  group_id: string
  heartbeat_ms: number
  /** A worker that gets no answer for this long leaves its group. */
  lease_ms: number
  /** Event types that are not registered as the worker has them. */
  warnings?: EventTypeWarning[]
}

const integer = (least: number) => z.int().min(least).max(limits.integerMax)
const runRef = { run_id: z.uuid(), epoch: integer(1) }

export const heartbeatRequestSchema = z.strictObject({
  worker_id: workerIdSchema,
  status: z.enum(['live', 'draining']),
  partitions: z.array(integer(0)).max(10_000),
  /** Runs in hand and claims in flight. */
  runs: z.array(z.strictObject(runRef)).max(limits.workerConcurrencyMax * 2),
  /** A steal is in flight: what it took is not known here yet, so absence from `runs` proves nothing. */
  stealing: z.boolean(),
  /** The main loop has not turned for this long. */
  stalled_ms: z.number().min(0).max(limits.timeMsMax),
})
export type HeartbeatRequest = z.infer<typeof heartbeatRequestSchema>

export interface HeartbeatReply {
  /** `unknown_worker`: declared dead or never registered; the worker registers again under a new id. */
  status: 'ok' | 'unknown_worker'
  /** Runs of the list that are not this worker's any more, at that epoch: their `ctx.signal` is aborted. */
  lost: { run_id: string; epoch: number }[]
}

const jsonText = z.string()
/** W3C Trace Context of the span that a worker made of it; absent where it made none. */
const traceparent = z
  .string()
  .regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)
  .optional()
/** What begins so is Headrace's own: waits of a run that are no steps stand beside those that are. */
export const ownKeyPrefix = 'headrace:'
const stepKey = z
  .string()
  .min(1)
  .max(limits.stepKeyCharactersMax)
  .refine((key) => !key.startsWith(ownKeyPrefix), { error: `must not begin with ${ownKeyPrefix}` })
const claimCommandSchema = z.strictObject({
  kind: z.literal('claim'),
  ...runRef,
  /** The task carried no input: the reply must. */
  want_input: z.boolean(),
})
const stealCommandSchema = z.strictObject({
  kind: z.literal('steal'),
  workflows: z.array(nameSchema).max(limits.workflowsPerWorkerMax),
  limit: z.int().min(1).max(limits.workerConcurrencyMax),
})
const stepCommandSchema = z.strictObject({
  kind: z.literal('step'),
  ...runRef,
  key: stepKey,
  step_kind: z.enum(stepKinds),
  /** The worker's order of results within the run. */
  n: integer(0),
  /** The wake the worker had observed. */
  seen: integer(0),
  output: jsonText.nullable(),
  error: jsonText.nullable(),
  attempts: integer(1),
  started_at: z.number(),
  finished_at: z.number(),
})
const completeCommandSchema = z.strictObject({
  kind: z.literal('complete'),
  ...runRef,
  output: jsonText,
})
const failCommandSchema = z.strictObject({
  kind: z.literal('fail'),
  ...runRef,
  error: jsonText,
  /** The handler was never begun: its input does not pass its schema. The run becomes a dead letter besides. */
  set_aside: z.literal('schema_invalid').optional(),
})
/** Why a worker pauses a run instead of going on; the run's `blocked_reason` then. */
const pauseReasons = ['replay_mismatch', 'duplicate_step_key', 'retries_exhausted'] as const
export type PauseReason = (typeof pauseReasons)[number]
/** The code does not fit the run, or what it does failed too often: the run is paused, with the error, and never failed. */
const pauseCommandSchema = z.strictObject({
  kind: z.literal('pause'),
  ...runRef,
  reason: z.enum(pauseReasons),
  error: jsonText,
})
/** Gives the run back at a step boundary: it is queued again at the next epoch. */
const releaseCommandSchema = z.strictObject({ kind: z.literal('release'), ...runRef, traceparent })

const waitMs = z.int().min(0).max(limits.waitMsMax)
const eventWaitSchema = z.strictObject({
  kind: z.literal('event'),
  topic: topicSchema,
  filter: z.string().min(1).max(limits.filterCharactersMax).nullable(),
  /** From when on events answer: since the run began, or a time in ms since 1970, or so many ms before the first registration. */
  since: z.union([
    z.literal('run'),
    z.strictObject({ at_ms: z.number().min(0).max(limits.timeMsMax) }),
    z.strictObject({ ago_ms: waitMs }),
  ]),
  timeout_ms: waitMs,
})
const timeWaitSchema = z.strictObject({
  kind: z.literal('time'),
  /** So many ms after the first registration, by Postgres's clock, or a time in ms since 1970. */
  due: z.union([
    z.strictObject({ after_ms: waitMs }),
    z.strictObject({ at_ms: z.number().min(0).max(limits.timeMsMax) }),
  ]),
})
/** What starts a child run, once for the run and the key; another workflow under the same key is a replay mismatch. */
const childRun = {
  workflow: nameSchema,
  input: jsonText,
}
/** The end of a child run, which is started by the commit that registers the wait. */
const runWaitSchema = z.strictObject({ kind: z.literal('run'), ...childRun, timeout_ms: waitMs })
/** `POST /v1/runs/{id}/steps/{key}/resume`. */
const resumeWaitSchema = z.strictObject({ kind: z.literal('resume'), timeout_ms: waitMs })
/** Registers a wait. Registered again it changes nothing, but a resend may bring the answer. */
const waitCommandSchema = z.strictObject({
  kind: z.literal('wait'),
  ...runRef,
  key: stepKey,
  /** The wake the worker had observed. */
  seen: integer(0),
  wait: z.discriminatedUnion('kind', [eventWaitSchema, timeWaitSchema, runWaitSchema, resumeWaitSchema]),
})
/** Parks the run until an answer comes, unless one came that the worker has not seen. */
const suspendCommandSchema = z.strictObject({
  kind: z.literal('suspend'),
  ...runRef,
  seen: integer(0),
  traceparent,
})
/** Asks for answers while a body runs, which keeps the run from being parked. */
const lookCommandSchema = z.strictObject({ kind: z.literal('look'), ...runRef, seen: integer(0) })
/**
 * The body of a `publishEvent`, done by the orchestrator under the id `<run>/<key>`. The worker stores the answer as the
 * step's result. Sent in requests of its own, so that a stall of Kafka holds up no step.
 */
const publishCommandSchema = z.strictObject({
  kind: z.literal('publish'),
  ...runRef,
  key: stepKey,
  topic: topicSchema,
  event_type: z.string().min(1).max(limits.eventTypeCharactersMax).nullable(),
  data: jsonText,
  event_key: z.string().min(1).nullable(),
  traceparent,
})

/** The body of an `invoke`: starts a child run that nobody waits for. The worker stores its id as the step's result. */
const invokeCommandSchema = z.strictObject({
  kind: z.literal('invoke'),
  ...runRef,
  key: stepKey,
  ...childRun,
})

export const commandSchema = z.discriminatedUnion('kind', [
  claimCommandSchema,
  stealCommandSchema,
  stepCommandSchema,
  completeCommandSchema,
  failCommandSchema,
  releaseCommandSchema,
  pauseCommandSchema,
  waitCommandSchema,
  suspendCommandSchema,
  lookCommandSchema,
  publishCommandSchema,
  invokeCommandSchema,
])
export type Command = z.infer<typeof commandSchema>
export type ClaimCommand = z.infer<typeof claimCommandSchema>
export type StealCommand = z.infer<typeof stealCommandSchema>
export type StepCommand = z.infer<typeof stepCommandSchema>
export type CompleteCommand = z.infer<typeof completeCommandSchema>
export type FailCommand = z.infer<typeof failCommandSchema>
export type ReleaseCommand = z.infer<typeof releaseCommandSchema>
export type PauseCommand = z.infer<typeof pauseCommandSchema>
export type WaitCommand = z.infer<typeof waitCommandSchema>
export type SuspendCommand = z.infer<typeof suspendCommandSchema>
export type LookCommand = z.infer<typeof lookCommandSchema>
export type PublishCommand = z.infer<typeof publishCommandSchema>
export type InvokeCommand = z.infer<typeof invokeCommandSchema>

export const commandsRequestSchema = z.strictObject({
  worker_id: workerIdSchema,
  commands: z.array(commandSchema).min(1).max(limits.commandsPerRequestMax),
})
export type CommandsRequest = z.infer<typeof commandsRequestSchema>

/**
 * A stored result. Results happened in the order (seen, answers first, n): an answer (`answerKinds`) carries the wake it
 * made as `seen`, and `n` 0; any other the worker's own order, and the wake the worker had observed when it ended.
 */
export interface StoredStep {
  key: string
  step_kind: (typeof stepKinds)[number]
  n: number
  seen: number
  epoch: number
  output: string | null
  error: string | null
  attempts: number
}

/** What a worker needs to run a claimed run. Times are ms since 1970. */
export interface ClaimedRun {
  run_id: string
  epoch: number
  wake: number
  workflow: string
  build: string | null
  attempt: number
  lost: number
  input: string | null
  tags: Record<string, string>
  trigger: {
    id: string
    stream: string
    partition: number
    first_sequence_id: number
    last_sequence_id: number
  } | null
  parent_run_id: string | null
  traceparent: string | null
  /** Of the span that its last worker made, where it was parked or given back. */
  former_traceparent?: string
  queue: string
  /** When the run began, by the log: its window's last event; without a window its creation, less some seconds. */
  since: number
  started_at: number
  /** In the order they happened. `wake` counts every answer among them. */
  steps: StoredStep[]
}

/** `lost`: the run is not this worker's at that epoch. `refused`: this command alone cannot be taken; never sent again. */
export type CommandReply =
  | { kind: 'claimed'; run: ClaimedRun }
  | { kind: 'stolen'; runs: ClaimedRun[] }
  | { kind: 'stored' }
  /** Another result stands under this key; it is the one that counts. */
  | { kind: 'exists'; step: StoredStep }
  /** The run ended, was given back, paused or parked, as asked; also when a resend asks again. */
  | { kind: 'done' }
  /** To wait and look: nothing came that the worker has not seen. */
  | { kind: 'waiting' }
  /**
   * To wait, suspend and look: answers came. All those beyond the command's `seen` up to `wake`, in the order of their
   * wakes; the run is still in the worker's hands.
   */
  | { kind: 'answers'; wake: number; steps: StoredStep[] }
  | { kind: 'published'; event: PublishedEvent }
  /** The child run, started now or before. */
  | { kind: 'invoked'; run_id: string }
  | { kind: 'lost' }
  | { kind: 'refused'; code: string; detail: string }
export interface CommandsReply {
  replies: CommandReply[]
}
