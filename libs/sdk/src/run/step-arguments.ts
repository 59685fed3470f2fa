import { compileFilter } from '@headrace/core'
import {
  type Duration,
  durationMs,
  faultsOf,
  limits,
  ownKeyPrefix,
  publishEventSchema,
  topicFault,
  type WaitCommand,
} from '@headrace/schemas'
import { LimitExceededError } from '../errors/step-error.ts'
import { topicFrom } from '../workflow/define-event.ts'
import type { StepEvent, WaitOptions } from '../workflow/step-options.ts'
import { jsonText, NotJsonError } from './json-text.ts'
import type { PublishCall, WaitCall } from './step-call.ts'

/**
 * The arguments of steps, checked before anything is sent: what is wrong is told with the step and the field, the same on
 * every replay.
 */

/** What a text column takes as it is. */
const isStorable = (text: string): boolean => text.isWellFormed() && !text.includes('\u0000')

/** Throws TypeError. */
export function checkStepKey(key: string): void {
  const { stepKeyCharactersMax: max } = limits
  if (typeof key !== 'string') throw new TypeError(`a step key is a text, not ${typeof key}`)
  if (key.length > 0 && key.length <= max && isStorable(key) && !key.startsWith(ownKeyPrefix)) return
  throw new TypeError(
    `a step key has 1 to ${max} well-formed characters, none of them NUL, and does not begin with ${ownKeyPrefix}, not ${JSON.stringify(key.slice(0, 80))}`,
  )
}

export function overLimit(key: string, which: 'too_many_steps' | 'too_many_waits'): LimitExceededError {
  const { stepsPerRunMax, openWaitsPerRunMax } = limits
  return which === 'too_many_steps'
    ? new LimitExceededError({
        limit: 'stepsPerRunMax',
        message: `step "${key}" would be number ${stepsPerRunMax + 1} of its run; at most ${stepsPerRunMax} are kept`,
      })
    : new LimitExceededError({
        limit: 'openWaitsPerRunMax',
        message: `step "${key}" would be open wait number ${openWaitsPerRunMax + 1} of its run; at most ${openWaitsPerRunMax} may be open at a time`,
      })
}

type EventWait = Extract<WaitCommand['wait'], { kind: 'event' }>

/** Throws TypeError or LimitExceededError. */
export function publishCallOf(key: string, event: StepEvent): PublishCall {
  const { topic, data, eventType, key: eventKey } = event
  const parsed = publishEventSchema.safeParse({
    topic,
    data,
    ...(eventType === undefined ? {} : { event_type: eventType }),
    ...(eventKey === undefined ? {} : { key: eventKey }),
  })
  if (!parsed.success) {
    const [fault] = faultsOf(parsed.error)
    const field = fault?.pointer.slice(1) ?? 'event'
    throw new TypeError(`step "${key}": ${field === 'event_type' ? 'eventType' : field} ${fault?.detail}`)
  }
  return {
    kind: 'publish',
    key,
    event: {
      topic,
      event_type: eventType ?? null,
      data: dataText(key, data),
      event_key: eventKey ?? null,
    },
  }
}

function dataText(key: string, data: unknown): string {
  const text = jsonOrThrow(key, 'data', data)
  const bytes = Buffer.byteLength(text)
  if (bytes <= limits.eventBytesMax) return text
  throw new LimitExceededError({
    limit: 'eventBytesMax',
    message: `step "${key}": data is ${bytes} bytes of JSON; an event takes at most ${limits.eventBytesMax}. Store it elsewhere and publish its address`,
  })
}

/** Throws TypeError, which names what of the field is no JSON. */
export function jsonOrThrow(key: string, field: string, value: unknown): string {
  try {
    return jsonText(value)
  } catch (error) {
    if (!(error instanceof NotJsonError)) throw error
    const { path, detail } = error
    throw new TypeError(`step "${key}": ${field} cannot be sent as JSON: ${field}${path} ${detail}`, {
      cause: error,
    })
  }
}

/** Throws TypeError or LimitExceededError. */
export function eventWaitOf(key: string, topic: string, options: WaitOptions): WaitCall {
  if (typeof topic !== 'string')
    throw new TypeError(`step "${key}": topic is required: a text, such as orders/created`)
  const fault = topicFault(topic)
  if (fault !== null) throw new TypeError(`step "${key}": topic "${topic}" cannot be waited for on: ${fault}`)
  const { timeout, since } = options
  return {
    kind: 'event',
    key,
    wait: {
      kind: 'event',
      topic,
      filter: filterOf(key, options.if),
      since: sinceOf(key, since),
      timeout_ms: timeout === undefined ? limits.waitMsDefault : waitMs(key, 'timeout', timeout),
    },
  }
}

/** The topic of a defined event. Throws TypeError where the pattern and its parameters name no one topic. */
export function topicOfWait(
  key: string,
  pattern: string,
  params: Readonly<Record<string, string>> | undefined,
): string {
  try {
    return topicFrom(pattern, params ?? {}, 'waited for on')
  } catch (error) {
    throw error instanceof TypeError
      ? new TypeError(`step "${key}": ${error.message}`, { cause: error })
      : error
  }
}

function filterOf(key: string, filter: string | undefined): string | null {
  if (filter === undefined) return null
  const reason = filterFault(filter)
  if (reason === null) return filter
  throw new TypeError(`step "${key}": if is no filter: ${reason}`)
}

function filterFault(filter: string): string | null {
  if (typeof filter !== 'string') return 'it must be a text'
  if (!isStorable(filter)) return 'it must not contain NUL or half of a surrogate pair'
  const compiled = compileFilter(filter)
  return compiled.kind === 'ok' ? null : compiled.reason
}

function sinceOf(key: string, since: WaitOptions['since']): EventWait['since'] {
  if (since === undefined || since === 'run') return 'run'
  if (since instanceof Date) return { at_ms: instantOf(key, 'since', since) }
  return { ago_ms: waitMs(key, 'since', since) }
}

export function sleepCallOf(key: string, duration: Duration): WaitCall {
  return { kind: 'time', key, wait: { kind: 'time', due: { after_ms: waitMs(key, 'duration', duration) } } }
}

export function sleepUntilCallOf(key: string, time: Date | string | number, now: number): WaitCall {
  const at = instantOf(key, 'time', time)
  if (at - now > limits.waitMsMax) throw tooLong(key, `time is ${new Date(at).toISOString()}`)
  return { kind: 'time', key, wait: { kind: 'time', due: { at_ms: at } } }
}

export function waitMs(key: string, field: string, duration: Duration): number {
  const ms = typeof duration === 'number' || typeof duration === 'string' ? durationMs(duration) : null
  if (ms === null)
    throw new TypeError(
      `step "${key}": ${field} must be seconds, or '250ms', '30s', '5m', '7d', not ${JSON.stringify(duration)}`,
    )
  if (ms > limits.waitMsMax) throw tooLong(key, `${field} is ${JSON.stringify(duration)}`)
  return ms
}

const tooLong = (key: string, what: string): LimitExceededError =>
  new LimitExceededError({
    limit: 'waitMsMax',
    message: `step "${key}": ${what}; a wait takes at most 366 days`,
  })

/** Without its offset a text would be another time on a worker in another zone. */
const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

function instantOf(key: string, field: string, time: Date | string | number): number {
  const isText = typeof time === 'string'
  const ms = isText ? (rfc3339.test(time) ? Date.parse(time) : Number.NaN) : Number(time)
  if (ms >= 0 && ms <= limits.timeMsMax) return ms
  const said = time instanceof Date ? 'an invalid or far Date' : JSON.stringify(time)
  throw new TypeError(
    `step "${key}": ${field} must be a Date, an RFC 3339 text with its offset, or ms since 1970, not ${said}`,
  )
}
