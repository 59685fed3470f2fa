import type { DeadLetterRecord } from '@headrace/core'
import { limits, ProblemError } from '@headrace/schemas'
import type { RedrivenWindow } from '@headrace/store'
import { z } from 'zod'

const offset = z.int().min(0)

/** What a run's row takes from the events of its input; whatever else they hold goes on as it is. */
const inputSchema = z.looseObject({
  events: z
    .array(
      z.looseObject({
        sequence_id: offset,
        created_at: z.iso.datetime().transform((text) => Date.parse(text)),
      }),
    )
    .min(1)
    .max(limits.windowEventsMax),
})

export const notRedrivable = (detail: string): ProblemError => new ProblemError('not_redrivable', detail)

/** The window inside a dead letter, whose value is the input that its run would have had. Throws `not_redrivable`. */
export function windowInside(letter: DeadLetterRecord, runId: string): RedrivenWindow {
  const { triggerId, source, value, incarnation } = letter
  if (triggerId === null || source === null || source.stream === null || value === null)
    throw notRedrivable('it does not say which window it was')
  if (letter.truncated)
    throw notRedrivable(
      'its input was cut, because it is too large for a dead letter: publish its events again',
    )
  const input = value.toString('utf8')
  const parsed = inputSchema.safeParse(jsonOf(input))
  const first = parsed.data?.events[0]
  const last = parsed.data?.events.at(-1)
  if (parsed.data === undefined || first === undefined || last === undefined)
    throw notRedrivable('its value is no input of a run')
  return {
    runId,
    triggerId,
    stream: source.stream,
    incarnation: incarnation ?? 1,
    partition: source.partition,
    firstOffset: first.sequence_id,
    lastOffset: Math.max(last.sequence_id, first.sequence_id),
    events: parsed.data.events.length,
    since: last.created_at,
    input,
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
