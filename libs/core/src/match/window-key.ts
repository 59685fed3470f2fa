import { compileExpression, type Expression, type FilteredEvent } from './expression.ts'
import { keptLatest } from './kept-latest.ts'

/** The key of a trigger's windows: an expression that is a text, a number or a boolean. */
export interface WindowKey {
  kind: 'ok'
  of(event: FilteredEvent): KeyAnswer
}
export type CompiledWindowKey = WindowKey | { kind: 'invalid'; reason: string }

/** `key` is null where the event has none: the field is missing, or null. Equal values have equal keys. */
export type KeyAnswer =
  { readonly kind: 'key'; readonly key: string | null } | { readonly kind: 'failed'; readonly reason: string }

const keptMax = 1_000
const keyTypes = ['string', 'int', 'uint', 'double', 'bool']
const NO_KEY: KeyAnswer = { kind: 'key', key: null }

/** Compiles the key of a trigger's windows. Never throws; a text in use is compiled once. */
export const compileWindowKey: (text: string) => CompiledWindowKey = keptLatest(compile, keptMax)

function compile(text: string): CompiledWindowKey {
  const expression = compileExpression(text)
  if (expression.kind === 'invalid') return { kind: 'invalid', reason: expression.reason }
  const { type } = expression
  if (!keyTypes.includes(type) && !type.startsWith('dyn'))
    return { kind: 'invalid', reason: `It must be a text, a number, true or false, and is of type ${type}` }
  return { kind: 'ok', of: (event) => keyOf(expression, event) }
}

function keyOf(expression: Expression, event: FilteredEvent): KeyAnswer {
  const evaluated = expression.evaluate({ event })
  if (evaluated.kind === 'missing') return NO_KEY
  if (evaluated.kind === 'failed') return evaluated
  const { value } = evaluated
  if (value === null) return NO_KEY
  // A quote in front: the text "1" is not the number 1. A whole number is the same key as int and as double.
  if (typeof value === 'string') return { kind: 'key', key: `"${value}` }
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean')
    return { kind: 'key', key: String(value) }
  return { kind: 'failed', reason: 'It is no text, no number, and not true or false for this event' }
}
