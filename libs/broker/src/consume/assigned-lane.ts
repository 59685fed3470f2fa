import { partitionKey } from '../records.ts'
import type { LaneHandler } from './lane.ts'

/**
 * One assigned partition as the consumer sees it.
 *
 *     starting (position null) ──start or seek──▶ fetching ◀──pause/resume──▶ paused
 *         └──────────────── lost (signal aborted), from any state, for good ─────────┘
 */
export class AssignedLane {
  readonly topic: string
  readonly partition: number
  readonly key: string
  readonly handler: LaneHandler
  readonly #abort: AbortController
  /** The next offset to fetch; null until its start is known. */
  position: number | null = null
  paused = false
  /** Not fetched before (ms, monotonic): after an error, or a refusal of its owner. */
  notBefore = 0
  /** Its last answer was empty though the log goes on: fetched first next time, where limits of size cannot hide records. */
  probing = false

  constructor(
    place: { topic: string; partition: number },
    make: (args: { topic: string; partition: number; signal: AbortSignal }) => LaneHandler,
  ) {
    this.topic = place.topic
    this.partition = place.partition
    this.key = partitionKey(place.topic, place.partition)
    this.#abort = new AbortController()
    this.handler = make({ ...place, signal: this.#abort.signal })
  }

  get lost(): boolean {
    return this.#abort.signal.aborted
  }

  lose(): void {
    this.#abort.abort(new Error(`${this.key} is no longer ours`))
  }

  seek(offset: number): void {
    this.position = offset
    this.notBefore = 0
    this.probing = false
  }
}
