import { projectionTriggerId, projectionVersion, type TriggerRow, type WaitedStream } from '@headrace/store'

/** The projection of one waited stream: an internal trigger, which follows the stream's lanes as others do. */
export interface ProjectionTrigger {
  readonly id: typeof projectionTriggerId
  readonly version: number
  readonly stream: string
  readonly gapPolicy: 'stop'
  /** From when on its events are asked for, ms since 1970. */
  readonly projectedFrom: number
}

/** Who follows the lanes of a stream. */
export type LaneTrigger = TriggerRow | ProjectionTrigger

export function projectionOf({ stream, projectedFrom }: WaitedStream): ProjectionTrigger {
  return { id: projectionTriggerId, version: projectionVersion, stream, gapPolicy: 'stop', projectedFrom }
}

export function isProjection(trigger: LaneTrigger): trigger is ProjectionTrigger {
  return trigger.id === projectionTriggerId
}
