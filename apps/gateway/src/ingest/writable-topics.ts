import type { Caller } from '@headrace/http'
import { type FieldFault, ProblemError } from '@headrace/schemas'
import type { PreparedEvent } from './prepare-events.ts'

/** Throws `forbidden`, with the pointer of every topic that the caller's key may not publish to. */
export function requireWritable(events: readonly PreparedEvent[], { grants, keyId }: Caller): void {
  const faults = events
    .filter(({ topic }) => !grants.topic('events:write', topic))
    .map(({ topic, topicPointer: pointer }): FieldFault => {
      const detail = `needs the scope events:write:${topic}, which the API key ${keyId} does not have`
      return { pointer, code: 'forbidden', detail }
    })
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
}
