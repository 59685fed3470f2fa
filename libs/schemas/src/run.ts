import { z } from 'zod'
import { durationMs } from './duration.ts'
import type { Json } from './event.ts'
import { limits } from './limits.ts'
import { nameSchema } from './workflow.ts'

export const runStatuses = [
  'queued',
  'running',
  'waiting',
  'paused',
  'completed',
  'failed',
  'cancelled',
  'timed_out',
] as const
export type RunStatus = (typeof runStatuses)[number]
export const endedRunStatuses = [
  'completed',
  'failed',
  'cancelled',
  'timed_out',
] as const satisfies RunStatus[]

export const stepKinds = ['run', 'publish', 'invoke', 'event', 'time', 'child', 'resume', 'value'] as const
export type StepKind = (typeof stepKinds)[number]
/** The steps that are answered from outside. */
export const answerKinds = ['event', 'time', 'child', 'resume'] as const satisfies StepKind[]

/** How an error is stored and shown: at most 16 KiB as JSON, the stack cut first. */
export interface WireError {
  name: string
  message: string
  code: string | null
  stack: string | null
  step_key: string | null
}

export interface WireRun {
  id: string
  workflow: string
  app: string | null
  build: string | null
  queue: string
  status: RunStatus
  blocked_reason: string | null
  /** Builds whose code did not fit what it has stored. */
  unfit_builds: string[]
  epoch: number
  attempt: number
  trigger: {
    id: string
    stream: string
    partition: number
    first_sequence_id: number
    last_sequence_id: number
    events: number
  } | null
  /** Lists leave out input and output. */
  input?: Json
  output?: Json
  error: WireError | null
  tags: Record<string, string>
  waiting_for: {
    key: string
    kind: 'event' | 'time' | 'run' | 'resume'
    topic: string | null
    expires_at: string | null
  }[]
  parent_run_id: string | null
  retry_of: string | null
  worker_id: string | null
  /** It is held until then: it was started with a delay. */
  run_at: string | null
  /** When it times out: for want of a claim, and once it has started, of an end. */
  expires_at: string | null
  traceparent: string | null
  created_at: string
  queued_at: string | null
  started_at: string | null
  finished_at: string | null
}

export interface WireStep {
  key: string
  kind: StepKind
  status: 'completed' | 'failed' | 'waiting'
  attempts: number
  output: Json
  error: WireError | null
  started_at: string | null
  finished_at: string | null
}

export const storableText = (text: string): boolean => text.isWellFormed() && !text.includes('\u0000')
const tagText = z
  .string()
  .min(1)
  .max(limits.tagCharactersMax)
  .refine(storableText, {
    error: 'must not contain NUL or half of a surrogate pair',
    params: { code: 'contains_nul' },
  })

export const tagsSchema = z
  .record(tagText, tagText)
  .refine((tags) => Object.keys(tags).length <= limits.tagsMax, { error: `at most ${limits.tagsMax} tags` })

const delaySchema = z.union([z.number(), z.string()]).refine(
  (delay) => {
    const ms = durationMs(delay)
    return ms !== null && ms <= limits.runDelayMsMax
  },
  { error: 'must be seconds, or a duration such as 10m, at most 366d' },
)

/** `POST /v1/runs`. */
export const startRunSchema = z.strictObject({
  workflow: nameSchema,
  input: z.unknown().optional(),
  id: z
    .string()
    .min(1)
    .max(limits.idCharactersMax)
    .refine(storableText, {
      error: 'must not contain NUL or half of a surrogate pair',
      params: { code: 'contains_nul' },
    })
    .optional(),
  on_conflict: z.enum(['return', 'fail']).optional(),
  delay: delaySchema.optional(),
  tags: tagsSchema.optional(),
})
export type StartRun = z.infer<typeof startRunSchema>

/** `POST /v1/runs/{id}/steps/{key}/resume`: what the step is given; null when absent. */
export const resumeStepSchema = z.strictObject({ data: z.unknown().optional() })
export type ResumeStep = z.infer<typeof resumeStepSchema>
