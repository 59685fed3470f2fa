import { compileExpression, type Expression, type FilteredEvent } from './expression.ts'
import { keptLatest } from './kept-latest.ts'

/** A filter of a trigger or a wait: an expression that is true or false. */
export interface Filter {
  kind: 'ok'
  ask(event: FilteredEvent): FilterAnswer
  /**
   * Whether the event matches. A filter that cannot be evaluated on an event (a field is missing or of another type, or
   * it costs too much) does not match it; `onError` is told why.
   */
  matches(event: FilteredEvent, onError?: (reason: string) => void): boolean
}
export type CompiledFilter = Filter | { kind: 'invalid'; reason: string }

/** `missing`: a field that it asks for is not there, so it does not pass. */
type FilterAnswer =
  | { readonly kind: 'passes' }
  | { readonly kind: 'does_not_pass' }
  | { readonly kind: 'missing' | 'failed'; readonly reason: string }

/** Compiled filters that are kept: thousands of waits share a few texts. */
const keptMax = 1_000

const PASSES: FilterAnswer = { kind: 'passes' }
const DOES_NOT_PASS: FilterAnswer = { kind: 'does_not_pass' }

/** Compiles a filter. Never throws; a text in use is compiled once. */
export const compileFilter: (text: string) => CompiledFilter = keptLatest(compile, keptMax)

function compile(text: string): CompiledFilter {
  const expression = compileExpression(text)
  if (expression.kind === 'invalid') return { kind: 'invalid', reason: expression.reason }
  const { type } = expression
  if (type !== 'bool' && !type.startsWith('dyn'))
    return { kind: 'invalid', reason: `It must be true or false, and is of type ${type}` }
  return {
    kind: 'ok',
    ask: (event) => ask(expression, event),
    matches: (event, onError) => {
      const answer = ask(expression, event)
      if ('reason' in answer) onError?.(answer.reason)
      return answer === PASSES
    },
  }
}

function ask(expression: Expression, event: FilteredEvent): FilterAnswer {
  const evaluated = expression.evaluate({ event })
  if (evaluated.kind !== 'value') return evaluated
  if (evaluated.value === true) return PASSES
  if (evaluated.value === false) return DOES_NOT_PASS
  return { kind: 'failed', reason: 'It is not true or false for this event' }
}
