import { limits } from '@headrace/schemas'

/** What the record on a task partition needs. `input` is null above 32 KiB of UTF-8: the claim then returns it. */
export interface TaskSeed {
  runId: string
  epoch: number
  workflow: string
  queue: string
  lost: number
  /** On which it began; null: it has not begun. */
  build: string | null
  input: string | null
}

/** Columns of a run as a task; `r` is the run, after the change that queued it. */
export const seedColumns = `r.id, r.epoch, r.workflow, r.queue, r.lost,
     case when r.started_at is not null then r.build end as build,
     case when octet_length(r.input) <= ${limits.taskInputBytesMax} then r.input end as input`

export interface SeedRow {
  id: string
  epoch: number
  workflow: string
  queue: string
  lost: number
  build: string | null
  input: string | null
}

export function toTaskSeed(row: SeedRow): TaskSeed {
  const { id: runId, epoch, workflow, queue, lost, build, input } = row
  return { runId, epoch, workflow, queue, lost, build, input }
}
