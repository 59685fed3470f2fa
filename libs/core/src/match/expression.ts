import { limits, type WireEvent } from '@headrace/schemas'
import type { ASTNode, ParseResult } from '@marcbachmann/cel-js'
import { type CountedCel, countedCel } from './filter-cost.ts'
import { refusedUse } from './filter-uses.ts'

/** What an expression sees as `event`. */
export type FilteredEvent = WireEvent

/** What an expression may name. */
interface ExpressionValues {
  event: FilteredEvent
  /** The first event of a run, or what is kept of it. */
  trigger?: unknown
}

/**
 * An expression of CEL over `event`, and where it says so over `trigger` (docs/filters.md). It is compiled once and asked for
 * every event, so it must never throw, hang or grow without bound: what it may use is a list, and what one evaluation may cost
 * is counted and not timed, so that an event gives the same on every machine.
 */
export interface Expression {
  readonly kind: 'ok'
  /** Of what type its value is, as far as the text tells: `dyn` where the event decides. */
  readonly type: string
  readonly ast: ASTNode
  evaluate(values: ExpressionValues): Evaluated
}
export type CompiledExpression = Expression | { readonly kind: 'invalid'; readonly reason: string }

type Evaluated =
  | { readonly kind: 'value'; readonly value: unknown }
  /** A field that it asks for is not there. */
  | { readonly kind: 'missing'; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string }

const cels = { event: countedCel(['event']), eventAndTrigger: countedCel(['event', 'trigger']) }

/** Never throws. */
export function compileExpression(text: string, over: keyof typeof cels = 'event'): CompiledExpression {
  if (text.length > limits.filterCharactersMax)
    return invalid(`It is longer than ${limits.filterCharactersMax} characters`)
  try {
    const cel = cels[over]
    const parsed = cel.environment.parse(text)
    const refused = refusedUse(parsed.ast)
    if (refused !== null) return invalid(refused)
    const { valid, type = 'dyn', error } = parsed.check()
    if (!valid) return invalid(summaryOf(error))
    return { kind: 'ok', type, ast: parsed.ast, evaluate: (values) => evaluate(cel, parsed, values) }
  } catch (error) {
    return invalid(summaryOf(error))
  }
}

const invalid = (reason: string): CompiledExpression => ({ kind: 'invalid', reason })

function evaluate(cel: CountedCel, parsed: ParseResult, values: ExpressionValues): Evaluated {
  try {
    return { kind: 'value', value: cel.counted(() => parsed({ ...values }) as unknown) }
  } catch (error) {
    return { kind: isMissing(error) ? 'missing' : 'failed', reason: summaryOf(error) }
  }
}

const missingCodes: readonly unknown[] = ['no_such_key', 'index_out_of_bounds']

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && missingCodes.includes(error.code)

/** One line: the library's message goes on with the text and an arrow under it. */
function summaryOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.message.split('\n', 1)[0] ?? ''
}
