import type { FieldFault, Problem, PublishEvent, PublishedEvent as WirePublished } from '@headrace/schemas'
import { PublishError, type PublishFailure } from '../errors/publish-error.ts'
import type { SchemaFault } from '../errors/step-error.ts'
import {
  type AnyEventDefinition,
  type EventArguments,
  type EventDefinition,
  isEventDefinition,
} from '../workflow/define-event.ts'
import { type NewEvent, type PublishedEvent, publishedOf } from '../workflow/event.ts'
import { validate } from '../workflow/standard-schema.ts'
import { type CallOptions, type ClientSettings, timeoutMsOf } from './client-options.ts'
import { type StreamedEvent, streamEvents, type StreamOptions } from './event-stream.ts'
import { callApi, pause, retryDelayMs } from './http.ts'
import { ulid } from './ulid.ts'

interface Entry {
  index: number
  event: PublishEvent & { id: string }
}

type WireEntry = WirePublished | { id?: string; problem: Problem }
interface WireAnswer {
  events: WireEntry[]
  /** Of events that were written all the same, by their place in the request. */
  warnings?: FieldFault[]
}

export class Events {
  readonly #settings: ClientSettings

  constructor(settings: ClientSettings) {
    this.#settings = settings
  }

  /**
   * Publishes events and resolves once Kafka has them all (acks from all in-sync replicas), with their positions in the
   * order given. Each gets an id here unless it has one; what is tried again after a failure carries the same ids, so
   * nothing is started twice. At most 10,000 events and 16 MiB a call.
   *
   * ```ts
   * await client.events.publish(orderCreated, { data: { order_id: '123', total: 99.99 } })
   * await client.events.publish({ topic: 'orders/created', data: { order_id: '123' } })
   * await client.events.publish([orderCreated.event({ data }), { topic: 'users/signup', data: user }])
   * ```
   *
   * What the schema of an event type in the mode `warn` does not take is in the `warnings` of the event that it belongs to.
   *
   * Throws PublishError where events were not accepted within the timeout, ApiError where the request was refused,
   * SchemaValidationError where data does not pass the definition's schema, TypeError for a topic that is none.
   */
  publish<Pattern extends string, Input>(
    definition: EventDefinition<Pattern, Input, unknown>,
    event: EventArguments<Pattern, Input>,
    options?: CallOptions,
  ): Promise<PublishedEvent>
  publish(event: NewEvent, options?: CallOptions): Promise<PublishedEvent>
  publish(events: readonly NewEvent[], options?: CallOptions): Promise<PublishedEvent[]>
  async publish(
    subject: AnyEventDefinition | NewEvent | readonly NewEvent[],
    second?: object,
    third?: CallOptions,
  ): Promise<PublishedEvent | PublishedEvent[]> {
    if (isEventDefinition(subject)) {
      const definition = subject as EventDefinition
      const event = definition.event(second as EventArguments<string, unknown>)
      if (definition.schema !== null)
        await validate({
          schema: definition.schema,
          value: event.data,
          subject: `an event of ${event.topic}`,
          at: ['data'],
        })
      return await this.#publishOne(event, third ?? {})
    }
    const options = (second ?? {}) as CallOptions
    if (!Array.isArray(subject)) return await this.#publishOne(subject as NewEvent, options)
    return await this.#publishAll(subject as readonly NewEvent[], options)
  }

  /**
   * The events of a stream as they come, without an end: the connection may break as often as it likes, each event is handed
   * out once, each partition's in its order. Leave the loop, or abort the signal, to stop.
   *
   * ```ts
   * for await (const event of client.events.stream({ pattern: 'orders/**' })) console.log(event.topic, event.data)
   * ```
   *
   * What may pass is tried again for as long as it takes. Throws ApiError where the request is refused or the stream is
   * removed, and `event_gap` where retention was faster, unless there is an `onGap`.
   */
  stream(options: StreamOptions): AsyncGenerator<StreamedEvent, never, undefined> {
    return streamEvents(this.#settings, options)
  }

  async #publishOne(event: NewEvent, options: CallOptions): Promise<PublishedEvent> {
    const [published] = await this.#publishAll([event], options)
    if (published === undefined) throw new TypeError('there was no event to publish')
    return published
  }

  async #publishAll(events: readonly NewEvent[], options: CallOptions): Promise<PublishedEvent[]> {
    const now = Date.now()
    const entries = events.map((event, index): Entry => ({ index, event: wireEventOf(event, now) }))
    const deadline = performance.now() + timeoutMsOf(options.timeout, this.#settings.timeoutMs)
    const signal = options.signal ?? null
    const published = new Map<number, PublishedEvent>()
    let open = entries
    for (let attempts = 1; open.length > 0; attempts += 1) {
      const answer = await callApi(this.#settings, {
        method: 'POST',
        path: '/v1/events',
        body: { events: open.map((entry) => entry.event) },
        timeoutMs: Math.max(1, deadline - performance.now()),
        signal,
      })
      const failures = takeAnswer(open, answer.body as WireAnswer, published)
      const delayMs = retryDelayMs(attempts, null)
      const isFinal = failures.some((failure) => !failure.problem.retryable)
      if (failures.length > 0 && (isFinal || performance.now() + delayMs >= deadline))
        throw new PublishError({ failures, published: published.size, requestId: answer.requestId })
      const failed = new Set(failures.map((failure) => failure.index))
      open = open.filter((entry) => failed.has(entry.index))
      if (open.length > 0) await pause(delayMs, signal)
    }
    return entries.flatMap(({ index }) => published.get(index) ?? [])
  }
}

function wireEventOf(event: NewEvent, now: number): Entry['event'] {
  const { topic, data, eventType, key, id, source } = event
  return {
    topic,
    data: (data ?? null) as PublishEvent['data'],
    id: id ?? ulid(now),
    ...(eventType === undefined ? {} : { event_type: eventType }),
    ...(key === undefined ? {} : { key }),
    ...(source === undefined ? {} : { source }),
  }
}

/** Notes what was written and returns what was not; an entry that the answer does not mention may have been. */
function takeAnswer(
  open: readonly Entry[],
  body: WireAnswer,
  published: Map<number, PublishedEvent>,
): PublishFailure[] {
  return open.flatMap(({ index, event }, place): PublishFailure[] => {
    const answer = body.events[place]
    if (answer !== undefined && !('problem' in answer)) {
      const warnings = warningsOf(body.warnings ?? [], place)
      published.set(index, { ...publishedOf(answer), ...(warnings.length === 0 ? {} : { warnings }) })
      return []
    }
    return [{ index, id: event.id, problem: answer?.problem ?? unmentioned }]
  })
}

function warningsOf(warnings: readonly FieldFault[], place: number): SchemaFault[] {
  const at = `/events/${place}/`
  return warnings
    .filter(({ pointer }) => pointer.startsWith(at))
    .map(({ pointer, detail }) => ({ path: pointer.slice(at.length - 1), message: detail }))
}

const unmentioned: Problem = {
  type: 'https://headrace.dev/problems/unknown',
  title: 'The event may or may not have been written',
  status: 503,
  code: 'unknown',
  detail: 'the answer does not mention the event',
  request_id: null,
  retryable: true,
}
