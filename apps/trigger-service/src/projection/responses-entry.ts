import type { CursorPoint, KafkaEvent } from '@headrace/core'
import type { SeenRecord } from '../lanes/lane-record.ts'
import type { ProjectionFollower } from './projection-follower.ts'

/** An event as it is to stand on the response topic. */
export interface Response {
  /** Of the event, in its stream. */
  readonly offset: number
  readonly record: KafkaEvent
}

/** The responses of a stretch of one partition; none where it held no event. */
export interface ResponsesEntry {
  readonly kind: 'responses'
  readonly follower: ProjectionFollower
  readonly responses: readonly Response[]
  /** Where the cursor may go once all of them are acknowledged. */
  readonly cursor: CursorPoint
  readonly seen: SeenRecord | null
  /** What it counts against the memory of its lane. */
  readonly bytes: number
}
