import {
  type FieldFault,
  faultsOf,
  limits,
  parseExactJson,
  ProblemError,
  type PublishEvent,
  publishEventSchema,
} from '@headrace/schemas'
import type { EventsBody, IncomingEvent } from './incoming-event.ts'

/**
 * One event, or `{"events":[…]}`, checked whole: nothing of a request is written unless all of it is valid.
 * Throws {@link ProblemError} that names every fault with its pointer.
 */
export function parseEvents(text: string): EventsBody {
  const body = parseExactJson(text)
  if (isObject(body) && Object.hasOwn(body, 'events')) return parseBatch(body)
  if (Array.isArray(body)) {
    throw ProblemError.fromFaults([
      { pointer: '', code: 'invalid_field', detail: 'must be an event or {"events":[…]}, not an array' },
    ])
  }
  return checked([body], () => '')
}

/** One event and nothing else, as a line of NDJSON holds it. Throws as {@link parseEvents}. */
export const parseEvent = (text: string): EventsBody => checked([parseExactJson(text)], () => '')

function parseBatch(body: Record<string, unknown>): EventsBody {
  const { events, ...others } = body
  const faults: FieldFault[] = Object.keys(others).map((name) => ({
    pointer: `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
    code: 'unknown_field',
    detail: `unknown field ${JSON.stringify(name)}; beside "events" a batch has no fields`,
  }))
  if (!Array.isArray(events)) {
    faults.push({ pointer: '/events', code: 'invalid_field', detail: 'must be an array of events' })
  } else if (events.length === 0) {
    faults.push({ pointer: '/events', code: 'invalid_field', detail: 'must hold at least one event' })
  } else if (events.length > limits.requestEventsMax) {
    const detail = `holds ${events.length} events, at most ${limits.requestEventsMax} go into one request`
    faults.push({ pointer: '/events', code: 'too_many_events', detail })
  }
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return checked(events as unknown[], (index) => `/events/${index}`)
}

function checked(values: unknown[], pointerOf: (index: number) => string): EventsBody {
  const events: IncomingEvent[] = []
  const faults: FieldFault[] = []
  for (const [index, value] of values.entries()) {
    const result = publishEventSchema.safeParse(value)
    if (result.success) events.push({ event: result.data as PublishEvent })
    else faults.push(...faultsOf(result.error, pointerOf(index)))
  }
  if (faults.length === 0) faults.push(...repeatedIds(events, pointerOf, ({ event }) => event.id ?? null))
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  return { events, pointerOf, topicField: 'topic', dataField: '/data' }
}

/** Which of two events with one id would start a run is nothing the caller could have meant. */
export function repeatedIds(
  events: readonly IncomingEvent[],
  pointerOf: (index: number) => string,
  idOf: (event: IncomingEvent) => string | null,
): FieldFault[] {
  if (events.length < 2) return []
  const firstIndexById = new Map<string, number>()
  return [...events.entries()].flatMap(([index, event]): FieldFault[] => {
    const id = idOf(event)
    if (id === null) return []
    const first = firstIndexById.get(id)
    if (first !== undefined) {
      const detail = `the event at ${pointerOf(first)} has the same id; ids are unique within a request`
      return [{ pointer: `${pointerOf(index)}/id`, code: 'duplicate_event_id', detail }]
    }
    firstIndexById.set(id, index)
    return []
  })
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
