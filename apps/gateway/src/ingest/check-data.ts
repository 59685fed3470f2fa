import { encodedBytes, takesFrames } from '@headrace/core'
import type { EventTypeChecks } from '@headrace/registry'
import { type FieldFault, limits, ProblemError, type StreamBinding } from '@headrace/schemas'
import { eventTooLarge, type PreparedEvent } from './prepare-events.ts'

/** What data is checked by, and how it is written. */
export interface DataRules {
  types: Pick<EventTypeChecks, 'of'>
  /** Whether what fits is framed where its stream takes that: a schema registry is configured. */
  isFramed: boolean
  bindingOf: (stream: string) => StreamBinding | null
}

const NO_WARNINGS: readonly FieldFault[] = []

/**
 * Checks the data of events by the event types of their topics, and frames what fits. Nothing is asked for: gateways know
 * the schemas from the config topic. What a type with the mode `warn` does not take is returned, at most 100 faults, and
 * written as JSON. Throws `schema_invalid` with the places of what one with `enforce` does not take, or `event_too_large`.
 */
export function checkData(events: readonly PreparedEvent[], rules: DataRules): readonly FieldFault[] {
  let warnings = NO_WARNINGS
  let faults = NO_WARNINGS
  for (const event of events) {
    const check = rules.types.of(event.topic)
    if (check === null) continue
    const { record, data, dataPointer, stream } = event
    const { mode, schema_type: schemaType } = check.type
    const isFramed = rules.isFramed && takesFrames(rules.bindingOf(stream)?.rule ?? null, schemaType)
    const found = check.write(record, { data, isFramed })
    if (found.length > 0) {
      const told = found.map(({ pointer, detail }): FieldFault => {
        return { pointer: `${dataPointer}${pointer}`, code: 'schema_invalid', detail }
      })
      if (mode === 'warn') warnings = [...warnings, ...told].slice(0, limits.problemErrorsMax)
      else faults = [...faults, ...told]
      // The others may have more: these are mended first.
      if (faults.length >= limits.problemErrorsMax) break
      continue
    }
    const bytes = encodedBytes(record)
    if (bytes > limits.eventBytesMax) faults = [...faults, eventTooLarge(event.pointer, bytes)]
  }
  if (faults.length > 0) throw ProblemError.fromFaults([...faults])
  return warnings
}
