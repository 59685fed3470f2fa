import type { IncomingBatch, IncomingRecord, LaneHandler, PushAnswer } from '@headrace/broker'
import { type Task, taskSchema } from '@headrace/schemas'

/** Tasks that wait in a worker could be claimed by others: enough to fill its slots again, no more. */
const LANE_TASKS_MAX = 2_000
const LANE_BYTES_MAX = 8 * 1024 * 1024

interface Entry {
  offset: number
  /** Null: unreadable. */
  task: Task | null
  bytes: number
  settled: boolean
}

/** What the next task of a lane is; `settle` once its claim is answered, or when it is dropped. */
export interface LaneTask {
  task: Task | null
  settle: () => void
}

/**
 * The tasks of one assigned partition, in order. The group's offset follows the lowest task that is not settled, so a
 * task whose claim was not answered is delivered again after a crash.
 */
export class TaskLane implements LaneHandler {
  readonly #commit: (nextOffset: number) => void
  readonly #onTasks: () => void
  /** Settled ones at the front are cut off; `#next` is the first that was not taken. */
  #entries: Entry[] = []
  #next = 0
  #bytes = 0
  #end = 0

  constructor(params: { commit: (nextOffset: number) => void; onTasks: () => void }) {
    this.#commit = params.commit
    this.#onTasks = params.onTasks
  }

  /** Tasks not yet taken. */
  get waiting(): number {
    return this.#entries.length - this.#next
  }

  isFull(): boolean {
    return this.waiting >= LANE_TASKS_MAX || this.#bytes >= LANE_BYTES_MAX
  }

  push(batch: IncomingBatch): PushAnswer {
    for (const record of batch.records) {
      this.#entries.push({
        offset: record.offset,
        task: taskOf(record),
        bytes: record.bytes,
        settled: false,
      })
      this.#bytes += record.bytes
    }
    this.#end = batch.nextOffset
    if (batch.records.length > 0) this.#onTasks()
    else this.#settled()
    return 'accepted'
  }

  peek(): LaneTask | null {
    const entry = this.#entries[this.#next]
    if (entry === undefined) return null
    const settle = (): void => {
      entry.settled = true
      this.#settled()
    }
    return { task: entry.task, settle }
  }

  /** The task that `peek` showed was taken. */
  take(): void {
    const entry = this.#entries[this.#next]
    if (entry === undefined) return
    this.#next += 1
    this.#bytes -= entry.bytes
    entry.task = null
    this.#settled()
  }

  #settled(): void {
    let passed = 0
    while (passed < this.#next && this.#entries[passed]?.settled === true) passed += 1
    if (passed === 0 && this.#entries.length > 0) return
    // Cutting the array costs its length: only once it pays.
    if (passed > 64 || passed === this.#entries.length) {
      this.#entries.splice(0, passed)
      this.#next -= passed
      passed = 0
    }
    this.#commit(this.#entries[passed]?.offset ?? this.#end)
  }
}

function taskOf(record: IncomingRecord): Task | null {
  try {
    const parsed = taskSchema.safeParse(JSON.parse(record.value?.toString('utf8') ?? ''))
    return parsed.success ? parsed.data : null
  } catch {
    return null
  }
}
