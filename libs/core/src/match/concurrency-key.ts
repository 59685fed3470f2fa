import { storableText } from '@headrace/schemas'
import type { FilteredEvent } from './expression.ts'
import { compileWindowKey, type WindowKey } from './window-key.ts'

/**
 * Whose share of a workflow's concurrency a run counts against. It is stored with the run, so unlike the key of a window it
 * is always a text that Postgres can hold and index.
 */
export type ConcurrencyKeyAnswer =
  { readonly kind: 'key'; readonly key: string } | { readonly kind: 'failed'; readonly reason: string }

/** The key of runs whose event has none, and of all runs where the rule has none. No value of an expression is it. */
export const noConcurrencyKey = ''

/** An entry of an index of Postgres has at most 2,704 bytes: this is 1,024 at the most, beside the workflow's 100. */
const keyCharactersMax = 256

/** The key of a run that begins with this event. */
export function concurrencyKeyOf(key: WindowKey, event: FilteredEvent): ConcurrencyKeyAnswer {
  const answer = key.of(event)
  return answer.kind === 'failed' ? answer : { kind: 'key', key: storedKey(answer.key) }
}

/**
 * The key of a run with this input (JSON text): over its first event; where its input holds none, `event.data` is the input
 * itself. Null where the expression is none: nobody registered it.
 */
export function concurrencyKeyOfInput(expression: string, input: string | null): ConcurrencyKeyAnswer | null {
  const compiled = compileWindowKey(expression)
  if (compiled.kind === 'invalid') return null
  return concurrencyKeyOf(compiled, firstEventOf(input === null ? null : JSON.parse(input)))
}

/**
 * The first event of a run with this input; of one without events, `data` is the input. Whoever starts a run with events of
 * their own may leave out fields: an expression finds that they are missing.
 */
export function firstEventOf(input: unknown): FilteredEvent {
  const events = isObject(input) ? input['events'] : null
  const first: unknown = Array.isArray(events) ? events[0] : null
  return (isObject(first) ? first : { data: input }) as unknown as FilteredEvent
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Keys of expressions begin with a quote, a digit, a sign or a letter, so none looks like a digest. */
function storedKey(key: string | null): string {
  if (key === null) return noConcurrencyKey
  return key.length <= keyCharactersMax && storableText(key) ? key : `#${key.length}:${digestOf(key)}`
}

/**
 * 64 bits of a text that cannot be stored as it is (FNV-1a, twice). Two keys of one length with one digest would share
 * their places, which holds them up and breaks nothing.
 */
function digestOf(text: string): string {
  let [a, b] = [0x811c9dc5, 0x01000193]
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    a = Math.imul(a ^ unit, 0x01000193)
    b = Math.imul(b ^ unit, 0x85ebca6b)
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
}
