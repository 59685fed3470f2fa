import { z } from 'zod'
import { bounded, patternSchema, topicSchema } from './event.ts'
import { limits } from './limits.ts'

/** Ids of workflows, triggers, queues and apps: they stand in URLs, metrics labels and Kafka names. */
export const nameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/,
    'must be 1 to 100 letters, digits, _ . - and begin with a letter or digit',
  )

/** A queue's name is part of a Kafka topic's name, where `.` and `_` collide: it has no dots. */
export const queueSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$/, 'must be 1 to 60 letters, digits, _ and -')

/** CEL over `event`; whether it is one is for whoever compiles it to say. */
const expressionSchema = bounded(limits.filterCharactersMax)

const windowRuleSchema = z.strictObject({
  /** Events that close the window. */
  size: z.int().min(1).max(limits.windowEventsMax),
  /** Time after the first event's log time that closes the window; null: never by time. */
  timeout_ms: z.int().min(1).max(limits.windowTimeoutMsMax).nullable(),
  /** Bytes of `data` that close the window. */
  max_bytes: z.int().min(1).max(limits.windowBytesMax),
  /** One window is open for each value of it. */
  key: expressionSchema.optional(),
})
export type WireWindowRule = z.infer<typeof windowRuleSchema>

export const triggerDefinitionSchema = z.strictObject({
  id: nameSchema,
  pattern: patternSchema,
  // The window of a key that is seen no more would hold the cursor back until retention has passed it.
  window: windowRuleSchema.refine(
    ({ key, timeout_ms: timeoutMs }) => key === undefined || timeoutMs !== null,
    {
      path: ['timeout_ms'],
      error: 'must be set where windows have a key',
    },
  ),
  /** Events on which it is not true are passed over. */
  if: expressionSchema.optional(),
  /** What becomes of it on a partition whose log lost events before they were seen, or was made anew. Default `stop`. */
  on_gap: z.enum(['stop', 'continue']).optional(),
})
export type TriggerDefinition = z.infer<typeof triggerDefinitionSchema>

const concurrencySchema = z.strictObject({
  /** Runs that may be under way at a time, of each value of `key`. */
  limit: z.int().min(1).max(limits.concurrencyMax),
  /** Absent: all runs of the workflow count together. */
  key: expressionSchema.optional(),
})

const cancelRuleSchema = z.strictObject({
  /** The topic whose events cancel: one, and no pattern. */
  event: topicSchema,
  /** CEL over `event`, which may cancel, and `trigger`, the run's first event. Absent: each event of the topic cancels. */
  if: expressionSchema.optional(),
})
/** Which events cancel the runs of a workflow. */
export type CancelRule = z.infer<typeof cancelRuleSchema>

const timeoutMs = z.int().min(1).max(limits.runTimeoutMsMax).nullable()

export const workflowDefinitionSchema = z.strictObject({
  id: nameSchema,
  queue: queueSchema,
  triggers: z.array(triggerDefinitionSchema).max(20),
  on_deploy: z.enum(['upgrade', 'pin']),
  /** Of each run: until its first claim, and from then on to its end; null: never. */
  timeouts: z.strictObject({ start_ms: timeoutMs, run_ms: timeoutMs }).optional(),
  concurrency: concurrencySchema.optional(),
  cancel_on: z.array(cancelRuleSchema).min(1).max(limits.cancelOnMax).optional(),
})
export type WorkflowDefinition = z.infer<typeof workflowDefinitionSchema>
