import type { ASTNode } from '@marcbachmann/cel-js'

/**
 * What a filter may use. A list, so that a new version of the library adds nothing by itself. Left out on purpose:
 * `matches` (JavaScript's regular expressions may take exponential time), functions of time zones (they ask the system's
 * tables), bytes (events have none).
 */
const functions = new Set(
  'has/1 size/1 int/1 double/1 string/1 bool/1 dyn/1 type/1 timestamp/1 duration/1'.split(' '),
)
const methods = new Set(
  [
    'all/2 exists/2 exists_one/2 filter/2 map/2 map/3 size/0',
    'contains/1 startsWith/1 endsWith/1 indexOf/1 lastIndexOf/1 substring/1 substring/2',
    'lowerAscii/0 upperAscii/0 trim/0 split/1 join/0 join/1',
    'getFullYear/0 getMonth/0 getDayOfMonth/0 getDate/0 getDayOfWeek/0 getDayOfYear/0',
    'getHours/0 getMinutes/0 getSeconds/0 getMilliseconds/0',
  ].flatMap((some) => some.split(' ')),
)
/** The variables that hold one. */
const events = ['event', 'trigger']
const eventFields = [
  ...'id source topic event_type data key stream partition sequence_id created_at'.split(' '),
  // Of external streams.
  ...'headers headers_base64 key_base64 tombstone'.split(' '),
]

/** Why a parsed filter is refused; null when all it uses is allowed. */
export function refusedUse(node: ASTNode): string | null {
  const refused = refusedHere(node)
  if (refused !== null) return refused
  for (const part of partsOf(node)) {
    const inside = refusedUse(part)
    if (inside !== null) return inside
  }
  return null
}

function refusedHere(node: ASTNode): string | null {
  if (node.op === 'call') return refusedFunction(node.args[0], node.args[1])
  if (node.op === 'rcall') return refusedMethod(node.args[0], node.args[2])
  if (node.op === '.') return refusedField(node.args[0], node.args[1])
  return null
}

/** The expressions inside one, however its kind of node holds them. */
export function partsOf({ args }: Pick<ASTNode, 'args'>): ASTNode[] {
  const parts: unknown[] = Array.isArray(args) ? args.flat(2) : [args]
  return parts.filter(isNode)
}

const isNode = (part: unknown): part is ASTNode =>
  typeof part === 'object' && part !== null && 'op' in part && 'args' in part

function refusedFunction(name: string, given: ASTNode[]): string | null {
  // A duration of a million digits would take seconds to read.
  if (name === 'duration' && given[0]?.op !== 'value')
    return 'duration() takes a literal, as in duration("90m")'
  return functions.has(`${name}/${given.length}`) ? null : unknownName(name, given)
}

function refusedMethod(name: string, given: ASTNode[]): string | null {
  if (name === 'matches')
    return 'Regular expressions are not allowed: use startsWith, endsWith, contains or split'
  return methods.has(`${name}/${given.length}`) ? null : unknownName(name, given)
}

const unknownName = (name: string, { length }: ASTNode[]): string =>
  `There is no function ${name} of ${length} ${length === 1 ? 'argument' : 'arguments'}`

/** `event.dta` would never match anything, and say so only in the log. */
function refusedField(receiver: ASTNode, field: string): string | null {
  if (receiver.op !== 'id' || !events.includes(receiver.args) || eventFields.includes(field)) return null
  return `An event has no ${field}: it has ${eventFields.join(', ')}, and what was published is in ${receiver.args}.data`
}
