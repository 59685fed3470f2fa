import { checkpoint, crashPoint } from '@headrace/core'
import { type Clock, codeOf, type Logger } from '@headrace/service'
import { type FlushEntry, progressEntry } from '../start-runs/flush-entry.ts'
import type { ProjectionFollower } from './projection-follower.ts'
import type { ResponseWriter } from './response-writer.ts'
import type { ResponsesEntry } from './responses-entry.ts'

/** Responses of one partition written in one call; a partition with much to copy shares the producer with the others. */
const WRITE_BYTES_MAX = 1024 * 1024
/** How long a stop waits for what is being written. What is not acknowledged by then is read again. */
const DRAIN_MS = 2_000

export interface ProjectorParts {
  writer: Pick<ResponseWriter, 'write'>
  /** Takes the cursor on, by the same compare-and-set as all cursors. */
  enqueue: (entry: FlushEntry) => void
  log: Logger
  clock: Clock
}

/**
 * Takes what projections closed to the response topic, then their cursors on (ARCHITECTURE, row 8). Each partition by
 * itself: what gathered while its last write was under way is the next one.
 *
 * J1  the responses of one partition are written in the order of their offsets
 * J2  a cursor goes on only when all below it is acknowledged; dying between the two copies again, under the same position
 * J3  an outage of Kafka delays projections and nothing else; what they hold is bounded by whoever feeds them
 */
export class Projector {
  readonly #parts: ProjectorParts
  readonly #waiting = new Map<ProjectionFollower, ResponsesEntry[]>()
  readonly #running = new Set<Promise<void>>()
  #stopped = false

  constructor(parts: ProjectorParts) {
    this.#parts = parts
  }

  enqueue(entry: ResponsesEntry): void {
    const { follower } = entry
    if (this.#stopped) return follower.drop()
    follower.pending.windows += 1
    follower.pending.bytes += entry.bytes
    const queue = this.#waiting.get(follower)
    if (queue !== undefined) {
      queue.push(entry)
      return
    }
    const begun = [entry]
    this.#waiting.set(follower, begun)
    const run = this.#run(follower, begun).finally(() => this.#running.delete(run))
    this.#running.add(run)
  }

  /** Waits a moment for what is being written, then gives it up. Resolves when nothing is. May be called twice. */
  async stop(): Promise<void> {
    const late = new AbortController()
    const idle = this.#idle().finally(() => late.abort(new Error('nothing is being written')))
    await this.#parts.clock.sleep(DRAIN_MS, late.signal).catch(() => undefined)
    this.#stopped = true
    for (const follower of this.#waiting.keys()) follower.drop()
    await idle
  }

  async #idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  async #run(follower: ProjectionFollower, queue: ResponsesEntry[]): Promise<void> {
    try {
      // Written a microtask later, so that what one turn of the event loop closes is one call.
      await Promise.resolve()
      while (queue.length > 0) await this.#project(follower, take(queue))
    } catch (error) {
      if (follower.live) {
        // Left to the sweep: the same records may well fail again, and a poke would make that a hot loop.
        this.#parts.log.error(
          { event: 'projection.failed', code: codeOf(error), ...follower.lane, err: error },
          'a projection failed; its cursor is read again',
        )
      }
      follower.drop()
    } finally {
      const left = queue.splice(0)
      this.#waiting.delete(follower)
      settle(follower, left)
    }
  }

  async #project(follower: ProjectionFollower, entries: readonly ResponsesEntry[]): Promise<void> {
    try {
      const responses = entries.flatMap((entry) => entry.responses)
      await this.#parts.writer.write(follower.lane, responses, follower.signal)
      if (responses.length > 0) {
        crashPoint('projection.before-cursor')
        const held = checkpoint('projection.before-cursor')
        if (held) await held
      }
      const last = entries.at(-1)
      if (last === undefined || !follower.live) return
      const { cursor, seen } = last
      this.#parts.enqueue(progressEntry({ follower, cursor, seen }))
    } finally {
      settle(follower, entries)
    }
  }
}

/** As many as one call may write, at least one. */
function take(queue: ResponsesEntry[]): ResponsesEntry[] {
  let bytes = 0
  let count = 0
  for (const entry of queue) {
    bytes += entry.bytes
    if (count > 0 && bytes > WRITE_BYTES_MAX) break
    count += 1
  }
  return queue.splice(0, count)
}

function settle(follower: ProjectionFollower, entries: readonly ResponsesEntry[]): void {
  for (const { bytes } of entries) {
    follower.pending.windows -= 1
    follower.pending.bytes -= bytes
  }
  if (entries.length > 0) follower.onSettled()
}
