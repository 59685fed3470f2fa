import { compileFilter, compilePattern, OffsetRanges } from '@headrace/core'
import type { WireEvent, WireOutcome } from '@headrace/schemas'
import type { CursorRow, EventPosition, TriggerRow } from '@headrace/store'

/** What is known of an event and one trigger of its stream. */
export interface Known {
  trigger: Pick<TriggerRow, 'id' | 'pattern' | 'filter'>
  /** Null: the partition is newer than the trigger's last look at it. */
  cursor: Pick<CursorRow, 'nextOffset' | 'done' | 'lastOffset' | 'status' | 'reason'> | null
  sequenceId: number
  /** Null: the record is no event. */
  event: WireEvent | null
  /** Runs that were handed the event. */
  runIds: readonly string[]
  /** Another position, at which the event's id was seen first. */
  repeatOf: EventPosition | null
  /** What was set aside of it for this trigger: the dead letter's id and reason. */
  letter: { id: string; reason: string; detail: string } | null
}

/**
 * What a trigger made of an event, most certain first: what is stored, then what follows from the event, then what the
 * cursor says. A retry or a redrive makes a second run, and a second outcome.
 */
export function outcomesOf(known: Known): WireOutcome[] {
  const { trigger, runIds, letter, repeatOf } = known
  const outcome = (name: WireOutcome['outcome'], detail: string | null): WireOutcome[] => [
    { trigger: trigger.id, outcome: name, run_id: null, detail },
  ]
  if (runIds.length > 0)
    return runIds.map((runId) => ({ trigger: trigger.id, outcome: 'run', run_id: runId, detail: null }))
  if (letter !== null) return outcome('dead_letter', `${letter.id}: ${letter.reason}: ${letter.detail}`)
  if (known.event !== null) {
    const { topic } = known.event
    if (!compilePattern(trigger.pattern)(topic))
      return outcome('no_match', `the topic ${topic} does not match ${trigger.pattern}`)
    if (repeatOf !== null)
      return outcome(
        'repeat',
        `its id was seen first at partition ${repeatOf.partition}, sequence id ${repeatOf.sequenceId}`,
      )
  }
  const place = placeOf(known)
  if (place.kind === 'not_read') return outcome('not_read_yet', place.detail)
  const filtered = known.event === null ? null : filteredOut(trigger.filter, known.event)
  if (filtered !== null) return outcome('filtered', filtered)
  if (place.kind === 'open')
    return outcome('open_window', 'its window waits for more events, or for its time-out')
  return outcome(
    'before_cursor',
    'it lies below the trigger’s cursor, and no run of it is kept: the trigger began, or was set, behind it, or its run was removed by retention',
  )
}

type Place = { kind: 'not_read'; detail: string } | { kind: 'open' } | { kind: 'settled' }

function placeOf({ cursor, sequenceId }: Known): Place {
  if (cursor === null) return { kind: 'not_read', detail: 'the trigger has not begun on this partition' }
  const { nextOffset, done, lastOffset, status, reason } = cursor
  if (sequenceId < nextOffset || OffsetRanges.parse(done).at(sequenceId) !== null) return { kind: 'settled' }
  // What was scanned and is not settled is in an open window.
  if (lastOffset !== null && lastOffset >= sequenceId) return { kind: 'open' }
  const stands = status === 'live' ? '' : `, and is ${status}${reason === null ? '' : ` (${reason})`}`
  return { kind: 'not_read', detail: `the trigger’s cursor is at ${nextOffset}${stands}` }
}

/** Why an event does not pass a filter, as it is now; null when it passes, or the filter fails on it. */
function filteredOut(text: string | null, event: WireEvent): string | null {
  if (text === null) return null
  const filter = compileFilter(text)
  if (filter.kind === 'invalid') return null
  const answer = filter.ask(event)
  if (answer.kind === 'missing') return answer.reason
  return answer.kind === 'does_not_pass' ? `it does not pass ${text}` : null
}
