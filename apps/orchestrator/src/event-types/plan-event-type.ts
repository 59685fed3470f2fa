import { isDeepStrictEqual } from 'node:util'
import type { SubjectSchema } from '@headrace/registry'
import { eventTypeName, type PutEventType, withoutParameters } from '@headrace/schemas'
import type { EventTypeRecord, WrittenEventType } from '@headrace/store'

/** What one event type is to become. */
export interface EventTypePlan {
  readonly name: string
  readonly stored: EventTypeRecord | null
  /** Nothing changes: it is as it is wanted, and where it is to be registered it is. */
  readonly isSame: boolean
  /** As it would be written, with what is known of its registration. */
  readonly write: WrittenEventType
  /** To be registered before; null: nothing is. */
  readonly register: SubjectSchema | null
}

export interface Registering {
  /** The subject, where the event type names none. */
  readonly subject: string
  /** The subject is Headrace's by its name. */
  readonly owned: boolean
  /** Null: schemas of this stream are not registered, for want of a registry or because others write it. */
  readonly isOwnUrl: ((url: string) => boolean) | null
}

/** `stored` has another pattern than `body`: the name is taken. Of parameters the place counts, not what they are called. */
export const isTaken = (body: PutEventType, stored: EventTypeRecord | null): boolean =>
  stored !== null && withoutParameters(stored.pattern) !== withoutParameters(body.pattern)

/** What is to be done for an event type to be as `body` says. */
export function planEventType(
  body: PutEventType,
  stored: EventTypeRecord | null,
  { subject: usual, owned, isOwnUrl }: Registering,
): EventTypePlan {
  const subject = body.subject ?? usual
  const sameSchema =
    stored?.schemaType === body.schema_type &&
    stored.subject === subject &&
    stored.contentModel === body.content_model &&
    isDeepStrictEqual(stored.schema, body.schema)
  const registered = sameSchema ? stored.registered : null
  // Ids of another registry mean nothing in this one.
  const isRegistered = isOwnUrl === null || (registered !== null && isOwnUrl(registered.url))
  const name = eventTypeName(body.pattern)
  return {
    name,
    stored,
    isSame: sameSchema && stored.mode === body.mode && isRegistered && !isTaken(body, stored),
    write: {
      name,
      pattern: body.pattern,
      schemaType: body.schema_type,
      schema: body.schema,
      mode: body.mode,
      contentModel: body.content_model,
      subject,
      registered,
      before: stored?.revision ?? null,
    },
    register: isRegistered
      ? null
      : {
          subject,
          type: body.schema_type === 'avro' ? 'AVRO' : 'JSON',
          schema: JSON.stringify(body.schema),
          level: body.content_model === 'closed' ? 'BACKWARD' : 'NONE',
          owned: owned && subject === usual,
        },
  }
}
