import { decodeUtf8 } from '@headrace/http'
import { type Json, parseExactJson } from '@headrace/schemas'

/** What an event's `data` became. */
export interface EventData {
  data: Json
  /**
   * Of data that is not JSON, for the header `headrace-data-type`: its media type, with `;base64` behind it where the text
   * in `data` is Base64.
   */
  type: string | null
}

const jsonType = /^[^/;\s]+\/(?:[^;\s]+\+)?json\s*(?:;|$)/i
const textType = /^text\//i
const charset = /;\s*charset\s*=\s*"?([\w-]+)"?/i
const UTF8 = new Set(['utf-8', 'utf8', 'us-ascii'])

/** No media type means JSON, as CloudEvents has it. */
export const isJsonType = (mediaType: string | null): boolean =>
  mediaType === null || jsonType.test(mediaType)

/**
 * Bytes of a media type as a JSON value: JSON as it is, text in UTF-8 as a string, anything else as a string of Base64;
 * nothing at all is null. Throws what parsing throws.
 */
export function dataOfBytes(bytes: Buffer, mediaType: string | null): EventData {
  if (bytes.length === 0) return { data: null, type: null }
  if (mediaType === null || isJsonType(mediaType))
    return { data: parseExactJson(decodeUtf8(bytes)) as Json, type: null }
  const said = charset.exec(mediaType)?.[1]?.toLowerCase() ?? 'utf-8'
  if (textType.test(mediaType) && UTF8.has(said)) return { data: decodeUtf8(bytes), type: mediaType }
  return { data: bytes.toString('base64'), type: `${mediaType};base64` }
}
