import { limits, type WireEvent } from '@headrace/schemas'
import type { ParseResult } from '@marcbachmann/cel-js'
import { countedCel } from './filter-cost.ts'
import { refusedUse } from './filter-uses.ts'

/**
 * Filters of triggers and waits: CEL over `event` (docs/filters.md). A filter is compiled once and asked for every event,
 * so it must never throw, hang or grow without bound: what it may use is a list, and what one evaluation may cost is
 * counted and not timed, so that an event matches on every machine or on none.
 */
export interface Filter {
  kind: 'ok'
  /**
   * Whether the event matches. A filter that cannot be evaluated on an event (a field is missing or of another type, or
   * it costs too much) does not match it; `onError` is told why.
   */
  matches(event: FilteredEvent, onError?: (reason: string) => void): boolean
}
export type CompiledFilter = Filter | { kind: 'invalid'; reason: string }
/** What a filter sees as `event`. */
export type FilteredEvent = WireEvent

/** Compiled filters that are kept, the latest used: thousands of waits share a few texts. */
const keptMax = 1_000

const cel = countedCel()
const kept = new Map<string, CompiledFilter>()

/** Compiles a filter. Never throws; a text in use is compiled once. */
export function compileFilter(text: string): CompiledFilter {
  const compiled = kept.get(text) ?? compile(text)
  // Set again, a text is the latest of the map's order.
  kept.delete(text)
  kept.set(text, compiled)
  if (kept.size > keptMax) {
    const [oldest] = kept.keys()
    if (oldest !== undefined) kept.delete(oldest)
  }
  return compiled
}

function compile(text: string): CompiledFilter {
  if (text.length > limits.filterCharactersMax)
    return invalid(`It is longer than ${limits.filterCharactersMax} characters`)
  try {
    const evaluate = cel.environment.parse(text)
    const refused = refusedUse(evaluate.ast)
    if (refused !== null) return invalid(refused)
    const { valid, type = 'dyn', error } = evaluate.check()
    if (!valid) return invalid(summaryOf(error))
    if (type !== 'bool' && !type.startsWith('dyn'))
      return invalid(`It must be true or false, and is of type ${type}`)
    return { kind: 'ok', matches: (event, onError) => ask(evaluate, event, onError) }
  } catch (error) {
    return invalid(summaryOf(error))
  }
}

const invalid = (reason: string): CompiledFilter => ({ kind: 'invalid', reason })

function ask(evaluate: ParseResult, event: FilteredEvent, onError?: (reason: string) => void): boolean {
  try {
    const answer: unknown = cel.counted(() => evaluate({ event }) as unknown)
    if (typeof answer === 'boolean') return answer
    onError?.('It is not true or false for this event')
  } catch (error) {
    onError?.(summaryOf(error))
  }
  return false
}

/** One line: the library's message goes on with the text and an arrow under it. */
function summaryOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.message.split('\n', 1)[0] ?? ''
}
