import { limits } from '@headrace/schemas'
import type { ASTNode } from '@marcbachmann/cel-js'
import { firstEventOf } from './concurrency-key.ts'
import { compileExpression, type Expression, type FilteredEvent } from './expression.ts'
import { partsOf } from './filter-uses.ts'
import { keptLatest } from './kept-latest.ts'

/**
 * The `if` of a rule that cancels runs: CEL over `event`, which may cancel, and `trigger`, the run's first event. One event
 * may be tried on thousands of runs, so with each run only what the expression asks of its first event is kept; and where
 * an equality has to hold, as in `event.data.order_id == trigger.data.order_id`, its two sides can be looked up instead of
 * trying each event on each run.
 */
export interface CancelFilter {
  readonly kind: 'ok'
  /**
   * What is kept of the run with this input (JSON text), as JSON: its first event as far as the expression asks for it.
   * `null` in JSON where that is larger than 16 KiB: the run is not cancelled then. Null: it asks for nothing.
   */
  kept(input: string | null): string | null
  /** Whether the event cancels the run of which this was kept; `onError` is told why it cannot be said. Never throws. */
  matches(event: FilteredEvent, kept: string | null, onError?: (reason: string) => void): boolean
  /** Events and runs whose keys differ do not match; null: only {@link matches} tells. */
  keyOfEvent(event: FilteredEvent): string | null
  keyOfRun(kept: string | null): string | null
}
export type CompiledCancelFilter = CancelFilter | { readonly kind: 'invalid'; readonly reason: string }

const keptMax = 1_000

/** Compiles such an `if`. Never throws; a text in use is compiled once. */
export const compileCancelFilter: (text: string) => CompiledCancelFilter = keptLatest(compile, keptMax)

type Path = readonly string[]

function compile(text: string): CompiledCancelFilter {
  const expression = compileExpression(text, 'eventAndTrigger')
  if (expression.kind === 'invalid') return { kind: 'invalid', reason: expression.reason }
  const { type, ast } = expression
  if (type !== 'bool' && !type.startsWith('dyn'))
    return { kind: 'invalid', reason: `It must be true or false, and is of type ${type}` }
  const asked = pathsOf(ast, 'trigger')
  const equality = equalityIn(ast)
  return {
    kind: 'ok',
    kept: (input) => (asked.length === 0 ? null : keptOf(input, asked)),
    matches: (event, kept, onError) => matches(expression, event, kept, onError),
    keyOfEvent: (event) => (equality === null ? null : keyAt(event, equality.event)),
    keyOfRun: (kept) => (equality === null ? null : keyAt(parsedOf(kept), equality.trigger)),
  }
}

function matches(
  expression: Expression,
  event: FilteredEvent,
  kept: string | null,
  onError?: (reason: string) => void,
): boolean {
  const trigger = parsedOf(kept)
  if (kept !== null && trigger === null) {
    onError?.(`What it asks of the run's first event is larger than ${limits.cancelValueBytesMax} bytes`)
    return false
  }
  const evaluated = expression.evaluate({ event, trigger })
  if (evaluated.kind !== 'value') onError?.(evaluated.reason)
  else if (typeof evaluated.value !== 'boolean') onError?.('It is not true or false for this event')
  return evaluated.kind === 'value' && evaluated.value === true
}

const parsedOf = (kept: string | null): unknown => (kept === null ? null : JSON.parse(kept))

function keptOf(input: string | null, paths: readonly Path[]): string {
  const first = firstEventOf(input === null ? null : JSON.parse(input))
  const text = JSON.stringify(pruned(first, paths))
  return Buffer.byteLength(text) > limits.cancelValueBytesMax ? 'null' : text
}

/** A value with no more than what is at these paths. */
function pruned(value: unknown, paths: readonly Path[]): unknown {
  if (!isObject(value) || paths.some(({ length }) => length === 0)) return value
  const byField = Map.groupBy(paths, ([field = '']) => field)
  return Object.fromEntries(
    [...byField].flatMap(([field, group]) =>
      Object.hasOwn(value, field)
        ? [
            [
              field,
              pruned(
                value[field],
                group.map((path) => path.slice(1)),
              ),
            ],
          ]
        : [],
    ),
  )
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Where in a variable an expression looks: the longest paths of fields; below them all may be asked for. */
function pathsOf(node: ASTNode, variable: string): Path[] {
  const path = pathOf(node)
  if (path !== null && path.variable === variable) return [path.fields]
  return partsOf(node).flatMap((part) => pathsOf(part, variable))
}

/** `trigger.data.order_id` and `trigger.data["order-id"]`; null: it is none. */
function pathOf(node: ASTNode): { variable: string; fields: Path } | null {
  if (node.op === 'id') return { variable: node.args, fields: [] }
  const field = fieldOf(node)
  const receiver = field === null ? null : pathOf(field.receiver)
  if (field === null || receiver === null) return null
  return { variable: receiver.variable, fields: [...receiver.fields, field.name] }
}

function fieldOf(node: ASTNode): { receiver: ASTNode; name: string } | null {
  if (node.op === '.') return { receiver: node.args[0], name: node.args[1] }
  if (node.op !== '[]') return null
  const [receiver, index] = node.args
  return index.op === 'value' && typeof index.args === 'string' ? { receiver, name: index.args } : null
}

/** A field of the event that has to equal one of the run's first event, whatever else is asked. */
function equalityIn(node: ASTNode): { event: Path; trigger: Path } | null {
  if (node.op === '&&') return equalityIn(node.args[0]) ?? equalityIn(node.args[1])
  if (node.op !== '==') return null
  const sides = node.args.map(pathOf)
  const event = sides.find((side) => side?.variable === 'event')
  const trigger = sides.find((side) => side?.variable === 'trigger')
  return event && trigger ? { event: event.fields, trigger: trigger.fields } : null
}

/** Values that are equal have one key. Of other values than texts, numbers and booleans, and where there is none: null. */
function keyAt(value: unknown, path: Path): string | null {
  let at = value
  for (const field of path) {
    if (!isObject(at) || !Object.hasOwn(at, field)) return null
    at = at[field]
  }
  return typeof at === 'string' || typeof at === 'number' || typeof at === 'boolean'
    ? JSON.stringify(at)
    : null
}
