import { compileCancelFilter } from '@headrace/core'
import { limits, topicFault, type WorkflowDefinition } from '@headrace/schemas'
import { type AnyEventDefinition, isEventDefinition } from './define-event.ts'

/** An event that cancels runs. */
export interface CancelOn {
  /** Its topic, or what `defineEvent` made of one; not a pattern. */
  event: string | AnyEventDefinition
  /**
   * CEL over `event`, which cancels, and `trigger`, the first event of the run, as in
   * `event.data.order_id == trigger.data.order_id` (docs/filters.md). Of a run without events, `trigger.data` is its input.
   * Default: every event of the topic cancels every run.
   */
  if?: string
}

/** Throws TypeError with the place (`subject`) and the field. */
export function cancelOnOf(
  cancelOn: readonly CancelOn[] | undefined,
  subject: string,
): Pick<WorkflowDefinition, 'cancel_on'> {
  if (cancelOn === undefined || (Array.isArray(cancelOn) && cancelOn.length === 0)) return {}
  // Whoever writes JavaScript may pass anything.
  if (!Array.isArray(cancelOn) || cancelOn.length > limits.cancelOnMax)
    throw new TypeError(`${subject}: cancelOn must be a list of at most ${limits.cancelOnMax}`)
  return { cancel_on: cancelOn.map((rule: CancelOn, at) => ruleOf(rule, `${subject}: cancelOn[${at}]`)) }
}

function ruleOf({ event, if: filter }: CancelOn, place: string): { event: string; if?: string } {
  const topic = isEventDefinition(event) ? event.pattern : event
  const fault = typeof topic === 'string' ? topicFault(topic) : 'it must be a text'
  if (fault !== null) throw new TypeError(`${place}.event ${JSON.stringify(topic)} is no topic: ${fault}`)
  if (filter === undefined) return { event: topic }
  if (typeof filter !== 'string') throw new TypeError(`${place}.if must be a text`)
  const compiled = compileCancelFilter(filter)
  if (compiled.kind === 'invalid')
    throw new TypeError(`${place}.if is no expression of CEL that may stand here: ${compiled.reason}`)
  return { event: topic, if: filter }
}
