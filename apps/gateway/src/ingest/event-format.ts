import { decodeUtf8 } from '@headrace/http'
import { ProblemError } from '@headrace/schemas'
import { isBinaryMode } from './cloud-event-headers.ts'
import type { EventsBody } from './incoming-event.ts'
import { parseBinaryEvent, parseEventBatch, parseStructuredEvent } from './parse-cloud-events.ts'
import { parseEvents } from './parse-events.ts'

/** How a request says its events. `lines` is read line by line, the others are read whole. */
export type EventFormat = 'json' | 'lines' | 'cloudevent' | 'cloudevents-batch' | 'cloudevent-binary'

export interface FormatHeaders {
  contentType: string | undefined
  headers: NodeJS.Dict<string | string[]>
}

const formatByType: Record<string, EventFormat> = {
  'application/json': 'json',
  'application/x-ndjson': 'lines',
  'application/cloudevents+json': 'cloudevent',
  'application/cloudevents-batch+json': 'cloudevents-batch',
}

/**
 * By the content type; `ce-` headers beside one that names no event format make the body a CloudEvent's data. Without a
 * content type JSON is expected. Throws `unsupported_media_type`.
 */
export function eventFormat({ contentType, headers }: FormatHeaders): EventFormat {
  const type = contentType?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (!type.startsWith('application/cloudevents') && isBinaryMode(headers)) return 'cloudevent-binary'
  const format = type === '' ? 'json' : formatByType[type]
  if (format !== undefined) return format
  throw new ProblemError('unsupported_media_type', `Send one of ${Object.keys(formatByType).join(', ')}`)
}

interface BodyHeaders {
  rawHeaders: readonly string[]
  contentType: string | undefined
}

const parsers: Record<Exclude<EventFormat, 'lines'>, (bytes: Buffer, headers: BodyHeaders) => EventsBody> = {
  json: (bytes) => parseEvents(decodeUtf8(bytes)),
  cloudevent: (bytes) => parseStructuredEvent(decodeUtf8(bytes)),
  'cloudevents-batch': (bytes) => parseEventBatch(decodeUtf8(bytes)),
  'cloudevent-binary': (bytes, { rawHeaders, contentType }) =>
    parseBinaryEvent(bytes, { rawHeaders, contentType: contentType ?? null }),
}

/** The events of a body that was read whole. Throws {@link ProblemError} that names every fault. */
export const parseBody = (
  bytes: Buffer,
  format: Exclude<EventFormat, 'lines'>,
  headers: BodyHeaders,
): EventsBody => parsers[format](bytes, headers)
