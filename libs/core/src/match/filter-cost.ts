import { type ASTNode, Environment } from '@marcbachmann/cel-js'

/**
 * CEL whose evaluations are counted. The library bounds a filter's text but not its work: `items.all(a, items.all(b, …))`
 * over an event of 1 MB is 10¹⁰ steps, and `[[0]].map(a, a + a)` repeated doubles a list each time until memory ends.
 * It has no seam for that, but evaluates every node through `run` of one evaluator, which it hands to macros: there each
 * node is paid for, with the size of what it reads or makes. Version 8.0.0 is pinned, and tests hold what is used of it.
 */
export interface CountedCel {
  environment: Environment
  /** Runs an evaluation; throws once it has cost more than {@link filterCostMax}. */
  counted<Result>(evaluation: () => Result): Result
}

/** Nodes evaluated, or what takes as long: 10⁶ take some 100 ms, for which an event of 1 MB must be walked several times. */
const filterCostMax = 1_000_000
/** Characters that are read or copied in the time of a node. */
const charactersPerCost = 16
/** An error that is passed over is made with a drawing of its place. */
const errorCost = 100
const textLimits = {
  maxAstNodes: 1_000,
  maxDepth: 40,
  maxListElements: 500,
  maxMapEntries: 100,
  maxCallArguments: 4,
}

/** The evaluator, as macros get it. */
interface Evaluator {
  run(node: EvaluatedNode, context: unknown): unknown
  tryEval(node: EvaluatedNode, context: unknown): unknown
}
/** A node once it is checked; `left`, `right` and `handle` are those of two-sided operators. */
interface EvaluatedNode {
  op: ASTNode['op']
  left: EvaluatedNode
  right: EvaluatedNode
  handle(left: unknown, right: unknown, node: EvaluatedNode, evaluator: Evaluator): unknown
  evaluate(evaluator: Evaluator, node: EvaluatedNode, context: unknown): unknown
}

class CostError extends Error {}

/** `variables`: what an expression may name. */
export function countedCel(variables: readonly string[]): CountedCel {
  const environment = new Environment({ homogeneousAggregateLiterals: false, limits: textLimits })
  for (const name of variables) environment.registerVariable(name, 'dyn')
  mixNumbers(environment)
  const evaluator = evaluatorOf(environment)
  let left = 0
  const spend = (cost: number): void => {
    left -= cost
    if (left < 0) throw new CostError('It costs too much to evaluate on this event')
  }
  evaluator.run = (node, context) => {
    spend(1)
    if (!sizedOperators.has(node.op)) {
      const value = node.evaluate(evaluator, node, context)
      if (typeof value === 'string') spend(Math.floor(value.length / charactersPerCost))
      else if (Array.isArray(value) && node.op === 'rcall') spend(value.length)
      return value
    }
    const a = evaluator.run(node.left, context)
    const b = evaluator.run(node.right, context)
    spend(node.op === '+' ? lengthOf(a) + lengthOf(b) : comparedSize(a, b, left))
    return node.handle(a, b, node, evaluator)
  }
  evaluator.tryEval = (node, context) => {
    try {
      return evaluator.run(node, context)
    } catch (error) {
      // `||`, `&&`, `all` and `exists` go on past an error of one side; past this one they would go on for ever.
      if (error instanceof CostError) throw error
      spend(errorCost)
      return error
    }
  }
  return {
    environment,
    counted: (evaluation) => {
      left = filterCostMax
      return evaluation()
    },
  }
}

/** Operators whose work grows with their operands. */
const sizedOperators = new Set<ASTNode['op']>(['+', '==', '!=', 'in'])

const lengthOf = (value: unknown): number => (Array.isArray(value) ? value.length : 0)

/** What comparing two values, or looking for the first in the second, takes at most. */
function comparedSize(a: unknown, b: unknown, most: number): number {
  if (typeof a !== 'object' || a === null) return Array.isArray(b) ? b.length : 0
  return sizeOf(a, most) + (Array.isArray(b) ? b.length : 0)
}

/** Values inside a value, itself included; more than `most` is not counted on. */
function sizeOf(value: unknown, most: number): number {
  let size = 0
  const open: unknown[] = [value]
  while (open.length > 0 && size <= most) {
    const next = open.pop()
    size += 1
    if (typeof next === 'object' && next !== null) for (const inner of Object.values(next)) open.push(inner)
  }
  return size
}

/**
 * JSON's numbers are doubles and CEL's literals `1` ints. CEL compares the two, but has no arithmetic between them, and no
 * `%` of doubles: `event.data.total * 2 > 100` would never match.
 */
function mixNumbers(environment: Environment): void {
  const operators: Record<string, (a: number, b: number) => number> = {
    '+': (a, b) => a + b,
    '-': (a, b) => a - b,
    '*': (a, b) => a * b,
    '/': (a, b) => a / b,
    '%': (a, b) => a % b,
  }
  for (const [operator, apply] of Object.entries(operators)) {
    const mixed = (a: number | bigint, b: number | bigint): number => apply(Number(a), Number(b))
    environment.registerOperator(`double ${operator} int: double`, mixed)
    environment.registerOperator(`int ${operator} double: double`, mixed)
    if (operator === '%') environment.registerOperator('double % double: double', mixed)
  }
}

/** The evaluator of an environment: a macro gets it when it is evaluated. */
function evaluatorOf(environment: Environment): Evaluator {
  let found: Evaluator | null = null
  environment.registerFunction('headraceEvaluator(ast): bool', () => ({
    typeCheck: (checker: { getType(name: string): unknown }) => checker.getType('bool'),
    evaluate: (evaluator: Evaluator) => {
      found = evaluator
      return true
    },
  }))
  environment.evaluate('headraceEvaluator(true)')
  if (found === null) throw new Error('The CEL library hands no evaluator to macros')
  return found
}
