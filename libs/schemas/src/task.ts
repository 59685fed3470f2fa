import { z } from 'zod'

/**
 * The record on a task partition: "run R, epoch E, is yours to claim". It carries no authority: the claim in Postgres
 * decides. `input` is JSON text, left out above 32 KiB, when the claim returns it.
 */
export const taskSchema = z.object({
  run_id: z.string(),
  epoch: z.number(),
  workflow: z.string(),
  /** How often a worker was lost with this run in hand; from 2 on it is claimed alone. */
  lost: z.number(),
  input: z.string().optional(),
})
export type Task = z.infer<typeof taskSchema>
