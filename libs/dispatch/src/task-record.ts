import { type OutgoingRecord, tasksTopic } from '@headrace/broker'
import { limits, type Task } from '@headrace/schemas'
import type { TaskSeed } from '@headrace/store'

/** The record that tells a worker "this run, at this epoch, is yours to claim". */
export function taskRecord(prefix: string, seed: TaskSeed, partition: number): OutgoingRecord {
  const task: Task = {
    run_id: seed.runId,
    epoch: seed.epoch,
    workflow: seed.workflow,
    lost: seed.lost,
  }
  if (seed.input !== null && travels(seed.input)) task.input = seed.input
  return {
    topic: tasksTopic(prefix, seed.queue).name,
    partition,
    key: null,
    value: JSON.stringify(task),
    headers: {},
  }
}

/** Larger input is left out: the claim returns it, and the task topic stays small. */
function travels(input: string): boolean {
  // A UTF-16 unit is at most three bytes of UTF-8: most inputs need not be measured.
  if (input.length * 3 <= limits.taskInputBytesMax) return true
  return input.length <= limits.taskInputBytesMax && Buffer.byteLength(input) <= limits.taskInputBytesMax
}
