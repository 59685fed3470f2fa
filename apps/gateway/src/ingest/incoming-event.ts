import type { PublishEvent } from '@headrace/schemas'

/** An event as it came, with what its format says beside it. */
export interface IncomingEvent {
  event: PublishEvent
  /** Headers for its record beside those that every event has; they may replace its time. */
  headers?: Readonly<Record<string, string>>
  /** Its own trace, where the format carries one. */
  traceparent?: string | null
}

/** The events of one request, in the order sent. */
export interface EventsBody {
  events: IncomingEvent[]
  /** JSON pointer of the event at an index: `/events/3`, or the empty text where the body is the event. */
  pointerOf(index: number): string
  /** What a field of an event is called where it stands: the topic of a CloudEvent is its `subject`. */
  topicField: string
  /** Where an event's data stands below it; empty where the body is the data. */
  dataField: '' | '/data'
}
