import { z } from 'zod'

const offsetsSchema = z
  .record(
    z.string().regex(/^\d{1,6}$/, { error: 'must be the number of a partition' }),
    z.int({ error: 'must be an offset' }).min(0),
  )
  .refine((offsets) => Object.keys(offsets).length > 0, { error: 'must name one partition at least' })

/** A place in each partition of a stream; `offsets`: in those that it names alone. */
const placeSchema = z.union(
  [
    z.literal(['earliest', 'latest']),
    z.iso.datetime({ offset: true }),
    z.strictObject({ offsets: offsetsSchema }),
  ],
  { error: 'must be earliest, latest, a time such as 2026-11-23T12:00:00Z, or {"offsets": {"0": 12}}' },
)
export type StreamPlace = z.output<typeof placeSchema>

/** `POST /v1/triggers/{id}/reset`. */
export const resetTriggerSchema = z.strictObject({ to: placeSchema, dry_run: z.boolean().default(true) })

/**
 * `POST /v1/triggers/{id}/replay`. `to` is behind the last event; without it the range ends where the trigger is. Where one of
 * them names offsets, their partitions alone are replayed.
 */
export const replayTriggerSchema = z.strictObject({
  /** The caller's own: a request that is sent again begins nothing twice. */
  id: z.uuid().optional(),
  from: placeSchema,
  to: placeSchema.optional(),
  dry_run: z.boolean().default(true),
})
export type ReplayTrigger = z.output<typeof replayTriggerSchema>

export type WireReplayStatus = 'running' | 'done' | 'failed' | 'cancelled'

export interface WireReplayRange {
  stream: string
  partition: number
  from_offset: number
  /** Behind its last offset. */
  to_offset: number
  /** How far it is; null: it ended before its end. */
  next_offset: number | null
  status: WireReplayStatus
  /** Why it ended before its end. */
  reason: string | null
}

export interface WireReplay {
  id: string
  trigger: string
  dry_run: boolean
  status: WireReplayStatus
  /** What a dry run counted, once it is done; null for a real one, whose runs have the tag `headrace.replay`. */
  counts: { windows: number; events: number; filtered: number; repeats: number; dead_letters: number } | null
  created_at: string
  finished_at: string | null
  ranges: WireReplayRange[]
}

/** What a reset does, or did, to one cursor. */
export interface WireResetCursor {
  stream: string
  partition: number
  /** Where it was; null: the trigger had not begun on this partition. */
  next_offset: number | null
  reset_to: number
  end_offset: number
  /** Rises where the topic was made anew. */
  incarnation: number
  /** Offsets of the log that lay behind it and are read again. */
  again: number
  /** Offsets of the log that lay before it and are passed over. */
  skipped: number
}

export interface WireReset {
  trigger: string
  dry_run: boolean
  cursors: WireResetCursor[]
}
