import { recordBytes } from '@headrace/broker'
import {
  crashPoint,
  type CursorPoint,
  encodeResponse,
  NOTHING_SETTLED,
  type OffsetRanges,
} from '@headrace/core'
import { Follower, type LaneEntry, NOTHING } from '../lanes/follower.ts'
import type { LaneRecord } from '../lanes/lane-record.ts'
import { progressEntry } from '../start-runs/flush-entry.ts'
import type { ProjectionTrigger } from '../triggers/lane-trigger.ts'
import type { Response } from './responses-entry.ts'

/**
 * The projection of one partition of a waited stream. What it closes is every event, as responses, whenever a stretch of
 * records ends; where there is none, its cursor alone moves, because a wait's time-out asks how far it has come.
 */
export class ProjectionFollower extends Follower {
  declare trigger: ProjectionTrigger
  /** An outage of the response topic is not the triggers' affair. */
  override readonly holdsLane = false
  #gathered: Response[] = []
  #bytes = 0
  #closedTo = this.stored.nextOffset
  readonly #dropped = new AbortController()

  /** Aborted when it is dropped. */
  get signal(): AbortSignal {
    return this.#dropped.signal
  }

  override get cursor(): CursorPoint {
    return { nextOffset: this.#gathered[0]?.offset ?? this.scanned, settled: NOTHING_SETTLED }
  }

  override moved(stored: Follower['stored'], done: OffsetRanges): void {
    super.moved(stored, done)
    crashPoint('projection.after-cursor')
  }

  protected override letGo(): void {
    this.#gathered = []
    this.#dropped.abort(new Error('the projection of this partition was dropped'))
  }

  protected override take(record: LaneRecord): readonly LaneEntry[] {
    if (record.kind === 'event') {
      const response = responseOf(record.event, this.incarnation)
      this.#gathered.push(response)
      this.#bytes += recordBytes(response.record)
    }
    return NOTHING
  }

  protected override passed(): readonly LaneEntry[] {
    if (!this.live || this.scanned <= this.#closedTo) return NOTHING
    const responses = this.#gathered
    const bytes = this.#bytes
    this.#gathered = []
    this.#bytes = 0
    this.#closedTo = this.scanned
    return [{ kind: 'responses', follower: this, responses, cursor: this.cursor, seen: this.seen, bytes }]
  }

  protected override headAt(): readonly LaneEntry[] {
    const { cursor, stored, seen, pending } = this
    if (pending.windows > 0 || cursor.nextOffset <= stored.nextOffset) return NOTHING
    return [progressEntry({ follower: this, cursor, seen })]
  }
}

export function responseOf(event: Parameters<typeof encodeResponse>[0], incarnation: number): Response {
  return { offset: event.sequenceId, record: encodeResponse(event, incarnation) }
}
