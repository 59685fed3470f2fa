import { z } from 'zod'

export const deadLetterStatuses = ['open', 'redriven', 'discarded'] as const
export type DeadLetterStatus = (typeof deadLetterStatuses)[number]

/** What could not go on, as lists show it. */
export interface WireDeadLetter {
  /** `<partition>.<offset>` on the topic of dead letters. */
  id: string
  reason: string
  detail: string
  /** Null for a run that was started by API; `stream` is null for a record of another topic. */
  source: { stream: string | null; kafka_topic: string | null; partition: number; offset: number } | null
  trigger: string | null
  run_id: string | null
  created_at: string
  status: DeadLetterStatus
  /** Null while it is open. */
  decision: {
    at: string
    reason: string | null
    by: string | null
    /** What a redriven one became. */
    run_id: string | null
    event_id: string | null
  } | null
}

/** One with what was set aside. */
export interface WireDeadLetterWhole extends WireDeadLetter {
  /** As text, where it is UTF-8. */
  value: string | null
  value_base64: string | null
  /** Cut at 1,000,000 bytes. */
  truncated: boolean
  /** Of a record that was set aside. */
  headers: Record<string, string>
}

const REASON_CHARACTERS_MAX = 1_000
const BY_CHARACTERS_MAX = 200
const said = (charactersMax: number) =>
  z
    .string()
    .min(1)
    .max(charactersMax)
    .refine((text) => !text.includes('\u0000'), {
      error: 'must not contain NUL (\\u0000)',
      params: { code: 'contains_nul' },
    })
    .refine((text) => text.isWellFormed(), {
      error: 'must be well-formed Unicode, without half of a surrogate pair',
    })
    .optional()

/** The body of `POST /v1/dead-letters/{id}/redrive|discard`: for those who look later. */
export const decideDeadLetterSchema = z.strictObject({
  reason: said(REASON_CHARACTERS_MAX),
  by: said(BY_CHARACTERS_MAX),
})
export type DecideDeadLetter = z.infer<typeof decideDeadLetterSchema>
