import { z } from 'zod'
import { type endedRunStatuses, runStatuses, storableText } from './run.ts'
import { nameSchema } from './workflow.ts'

const bulkActions = ['cancel', 'retry', 'pause', 'resume'] as const
export type BulkAction = (typeof bulkActions)[number]

/** Runs as `GET /v1/runs` finds them; all conditions hold together. */
const bulkFilterSchema = z
  .strictObject({
    workflow: nameSchema,
    trigger: nameSchema,
    status: z.array(z.enum(runStatuses)).min(1).max(runStatuses.length),
    tag: z
      .string()
      .refine((text) => text.indexOf(':') > 0 && storableText(text), { error: 'must be key:value' }),
    created_after: z.iso.datetime({ offset: true, error: 'must be a time such as 2026-11-23T12:00:00Z' }),
  })
  .partial()
  .refine((filter) => Object.keys(filter).length > 0, {
    error: 'must name one condition at least: nobody means all runs there are',
  })

/** `POST /v1/runs/bulk`. */
export const bulkRunsSchema = z.strictObject({
  action: z.enum(bulkActions),
  filter: bulkFilterSchema,
  dry_run: z.boolean().default(true),
  /** `next_cursor` of the answer before. */
  cursor: z.string().max(200).optional(),
})
export type BulkRuns = z.output<typeof bulkRunsSchema>

export interface WireBulk {
  action: BulkAction
  dry_run: boolean
  /** Runs that fit the filter, and to which the action applies. */
  matched: number
  /** Those it changed; the others were moved by somebody else in the meantime. */
  changed: number
  /** There may be more: send the request again with it. */
  next_cursor: string | null
}

/** What happened to a run. `build`: of the worker, as long as that is remembered. */
export interface WireTimelineEntry {
  at: string
  kind: TimelineKind
  epoch: number
  key: string | null
  worker_id: string | null
  build: string | null
  detail: string | null
}

export type TimelineKind =
  | 'created'
  | 'queued'
  | 'claimed'
  | 'step'
  | 'wait'
  | 'answer'
  | 'parked'
  | 'released'
  | 'lost'
  | 'forgotten'
  | 'paused'
  | 'resumed'
  | 'retried'
  | (typeof endedRunStatuses)[number]
