import type { Problem, WireEvent } from '@headrace/schemas'
import { ApiError } from '../errors/api-error.ts'
import { type Event, eventOf } from '../workflow/event.ts'
import type { ClientSettings } from './client-options.ts'
import { pause, problemAnswer, retryDelayMs } from './http.ts'
import { type SentEvent, sentEvents } from './sent-events.ts'

/** Exactly one of `topic`, `pattern` and `stream`. */
export interface StreamOptions {
  topic?: string
  /** `*` or `{name}` stands for one segment, a last `**` for one or more. */
  pattern?: string
  /** All of a stream. */
  stream?: string
  /** Events that were given this key. */
  key?: string
  eventType?: string
  /** `'latest'` (default): behind all that is there when it connects first; `'earliest'`; or a time of the log, RFC 3339 or a Date. */
  from?: string | Date
  /** Instead of `from`: behind the event that had this `resumeId`, also in another process, much later. */
  after?: string
  /** Aborting it ends the iteration with the signal's reason. */
  signal?: AbortSignal
  /** Told of events that the stream's retention removed before they were read. Without it they are an ApiError `event_gap`. */
  onGap?: (gap: StreamGap) => void
}

/** Sequence ids `[from, to)` of a partition are missing; `to` below `from`: the stream was cut, or made anew. */
export interface StreamGap {
  partition: number
  from: number
  to: number
}

/** An event, and the place behind it. */
export interface StreamedEvent<Data = unknown> extends Event<Data> {
  /** Opaque; for `after`. */
  readonly resumeId: string
}

/** The gateway writes every 15 s: who hears nothing for three times as long is cut off. */
const SILENT_MS_MAX = 45_000
const CONNECT_MS_MAX = 10_000

/** Follows a stream over as many connections as it takes; each goes on behind the last event that was handed out. */
export async function* streamEvents(
  settings: ClientSettings,
  options: StreamOptions,
): AsyncGenerator<StreamedEvent, never, undefined> {
  const signal = options.signal ?? null
  const path = `/v1/events/stream?${queryOf(options).toString()}`
  let lastId = options.after ?? null
  for (let failures = 1; ; failures += 1) {
    signal?.throwIfAborted()
    const link = new AbortController()
    let error: ApiError | null = null
    try {
      for await (const sent of connection(settings, { path, lastId, signal, link })) {
        failures = 1
        lastId = sent.id ?? lastId
        if (sent.event === 'event') {
          yield { ...eventOf(JSON.parse(sent.data) as WireEvent), resumeId: lastId ?? '' }
        } else if (sent.event === 'gap') tellGap(JSON.parse(sent.data) as StreamGap, options)
        else if (sent.event === 'problem') throw problemAnswer(JSON.parse(sent.data) as Problem)
      }
    } catch (caught) {
      signal?.throwIfAborted()
      if (!(caught instanceof ApiError) || !caught.retryable) throw caught
      error = caught
    } finally {
      link.abort()
    }
    await pause(retryDelayMs(failures, error), signal)
  }
}

function queryOf({ topic, pattern, stream, key, eventType, from }: StreamOptions): URLSearchParams {
  const query = new URLSearchParams()
  const wanted = { topic, pattern, stream, key, event_type: eventType }
  for (const [name, value] of Object.entries(wanted)) if (value !== undefined) query.set(name, value)
  if (from !== undefined) query.set('from', from instanceof Date ? from.toISOString() : from)
  return query
}

function tellGap(gap: StreamGap, { onGap }: StreamOptions): void {
  if (onGap !== undefined) return onGap(gap)
  const { partition, from, to } = gap
  throw new ApiError({
    message: `events of partition ${partition} from sequence id ${from} on are gone before they were read, up to ${to}; give onGap to go on behind them`,
    status: 0,
    code: 'event_gap',
    retryable: false,
  })
}

interface Connection {
  path: string
  lastId: string | null
  signal: AbortSignal | null
  /** Aborted by whoever reads: the connection is left. */
  link: AbortController
}

/** One connection, to its end. Throws ApiError where it is refused, breaks or falls silent. */
async function* connection(
  settings: ClientSettings,
  { path, lastId, signal, link }: Connection,
): AsyncGenerator<SentEvent, void, undefined> {
  const silence = new AbortController()
  let timer = setTimeout(() => silence.abort(), CONNECT_MS_MAX)
  const heard = (): void => {
    clearTimeout(timer)
    timer = setTimeout(() => silence.abort(), SILENT_MS_MAX)
  }
  const signals = [link.signal, silence.signal, ...(signal === null ? [] : [signal])]
  try {
    const response = await settings.fetch(settings.url + path, {
      headers: headersOf(settings, lastId),
      signal: AbortSignal.any(signals),
    })
    heard()
    if (!response.ok || response.body === null) throw problemAnswer(await bodyOf(response), response)
    yield* sentEvents(response.body, heard)
  } catch (error) {
    if (error instanceof ApiError) throw error
    signal?.throwIfAborted()
    throw new ApiError({
      message: `the connection to ${settings.url} ${silence.signal.aborted ? 'fell silent' : 'broke'}`,
      status: 0,
      code: silence.signal.aborted ? 'timeout' : 'unreachable',
      retryable: true,
      cause: error,
    })
  } finally {
    clearTimeout(timer)
  }
}

function headersOf({ apiKey }: ClientSettings, lastId: string | null): Record<string, string> {
  return {
    accept: 'text/event-stream',
    ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }),
    ...(lastId === null ? {} : { 'last-event-id': lastId }),
  }
}

async function bodyOf(response: Response): Promise<unknown> {
  try {
    return await response.json()
  } catch {
    return undefined
  }
}
