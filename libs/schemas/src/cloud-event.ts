import { z } from 'zod'
import { publishEventSchema } from './event.ts'
import { limits } from './limits.ts'

/**
 * CloudEvents 1.0: the context attributes of one event, as every content mode brings them, and in the structured modes its
 * data. What Headrace asks beyond the specification: `subject` is there and is a topic, `source` does not begin with
 * `headrace:`, and id, source, type and key keep the limits of any event.
 */

/** The specification's String: no control characters, no non-characters, no half of a surrogate pair. */
const isText = (text: string): boolean =>
  text.isWellFormed() && !/[\p{Cc}\p{Noncharacter_Code_Point}]/u.test(text)
const textRule = { error: 'must be text without control characters and non-characters' }

const reference = /^(?:[A-Za-z0-9._~:/?#[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+$/
const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:/
/** RFC 3986: before the first slash a colon ends a scheme, and one `#` begins the fragment. */
const isUriReference = (text: string): boolean =>
  reference.test(text) &&
  text.split('#').length <= 2 &&
  (scheme.test(text) || !(text.split(/[/?#]/, 1)[0] ?? '').includes(':'))

const mediaType = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:\s*;\s*[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|"[^"]*"))*\s*$/
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const attributeName = /^[a-z0-9]+$/
const INTEGER_MAX = 2 ** 31 - 1

const timestampSchema = z
  .string()
  .transform((text) => text.toUpperCase())
  .pipe(z.iso.datetime({ offset: true, error: 'must be an RFC 3339 time such as 2026-11-23T12:00:00Z' }))

/** Boolean, Integer (32 bits), or text: Binary, URI and Timestamp are text in JSON and in headers. */
const extensionSchema = z.union(
  [
    z.boolean(),
    z
      .int()
      .min(-INTEGER_MAX - 1)
      .max(INTEGER_MAX),
    z.string().refine(isText),
  ],
  { error: 'must be text without control characters, true or false, or a whole number of 32 bits' },
)

const { id, source, topic, event_type: type, key } = publishEventSchema.shape

export const cloudEventSchema = z
  .object({
    specversion: z.literal('1.0', { error: 'must be "1.0"' }),
    id: id.unwrap().refine(isText, textRule),
    source: source.unwrap().refine(isUriReference, {
      error: 'must be a URI reference (RFC 3986): percent-encode what it cannot hold',
    }),
    type: type.unwrap().refine(isText, textRule),
    /** The topic. */
    subject: topic,
    time: timestampSchema.optional(),
    datacontenttype: z
      .string()
      .regex(mediaType, 'must be a media type such as application/json')
      .max(limits.mediaTypeCharactersMax)
      .optional(),
    dataschema: z
      .string()
      .max(limits.sourceCharactersMax * 8)
      .refine((text) => isUriReference(text) && scheme.test(text), { error: 'must be a URI (RFC 3986)' })
      .optional(),
    /** The event's key (the partitioning extension). */
    partitionkey: key.unwrap().refine(isText, textRule).optional(),
    data: z.unknown().optional(),
    data_base64: z.string().regex(base64, 'must be Base64 (RFC 4648)').optional(),
  })
  .catchall(extensionSchema)
  .superRefine((event, context) => {
    const extensions = Object.keys(event).filter((name) => !ownNames.has(name))
    for (const name of extensions) {
      if (attributeName.test(name) && name.length <= limits.extensionNameCharactersMax) continue
      const message = `an attribute's name is 1 to ${limits.extensionNameCharactersMax} lower-case letters and digits`
      context.addIssue({ code: 'custom', path: [name], message, params: { code: 'unknown_field' } })
    }
    if (extensions.length > limits.extensionsMax) {
      const message = `has ${extensions.length} extension attributes, at most ${limits.extensionsMax} are possible`
      context.addIssue({ code: 'custom', message })
    }
    if (event.data !== undefined && event.data_base64 !== undefined)
      context.addIssue({ code: 'custom', path: ['data_base64'], message: 'must not stand beside data' })
  })
export type CloudEvent = z.output<typeof cloudEventSchema>

const ownNames = new Set([
  'specversion',
  'id',
  'source',
  'type',
  'subject',
  'time',
  'datacontenttype',
  'dataschema',
  'data',
  'data_base64',
])

/** What is no attribute of the core specification, by name: `partitionkey` and `traceparent` among them. */
export function extensionsOf(event: CloudEvent): [name: string, value: string][] {
  return Object.entries(event).flatMap(([name, value]): [string, string][] =>
    ownNames.has(name) || value === undefined
      ? []
      : [[name, typeof value === 'string' ? value : JSON.stringify(value)]],
  )
}
