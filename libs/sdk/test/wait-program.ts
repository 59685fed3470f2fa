import type { StoredStep } from '@headrace/schemas'
import * as fc from 'fast-check'
import { WaitTimeoutError } from '../src/errors/step-error.ts'
import type { WorkflowContext } from '../src/workflow/context.ts'

/**
 * A workflow made of steps, publishes, sleeps, waits and child runs, in sequence, side by side and in races. It is evaluated over
 * leaves that somebody else provides: `ctx.step` in a run, what is stored in the reference.
 */
/** Leaves that are their key alone. `child`: an invoke that waits; `ask`: a wait for somebody. */
type PlainKind = 'run' | 'value' | 'publish' | 'invoke' | 'sleep' | 'child' | 'ask'

export type Program =
  | { kind: PlainKind }
  | { kind: 'wait'; topic: number; timeoutMs: number }
  /** So many waits on a topic of its own, a step after each. */
  | { kind: 'loop'; times: number }
  | { kind: 'seq' | 'all' | 'race'; of: Program[] }

export type Leaf =
  { kind: PlainKind; key: string } | { kind: 'wait'; key: string; topic: string; timeoutMs: number }

/** Timeouts end a wait only where the schedule lets so much time pass. */
const HOUR_MS = 3_600_000

const wait = fc
  .tuple(fc.nat(1), fc.constantFrom(HOUR_MS, 24 * HOUR_MS))
  .map(([topic, timeoutMs]): Program => ({ kind: 'wait', topic, timeoutMs }))
const loop = fc.integer({ min: 2, max: 4 }).map((times): Program => ({ kind: 'loop', times }))
const plain = (kind: PlainKind) => fc.constant<Program>({ kind })
const leaf: fc.Arbitrary<Program> = fc.oneof(
  { weight: 3, arbitrary: plain('run') },
  { weight: 1, arbitrary: plain('value') },
  { weight: 1, arbitrary: plain('publish') },
  { weight: 1, arbitrary: plain('sleep') },
  { weight: 1, arbitrary: plain('invoke') },
  { weight: 1, arbitrary: plain('child') },
  { weight: 1, arbitrary: plain('ask') },
  { weight: 5, arbitrary: wait },
  { weight: 2, arbitrary: loop },
)

const several = (part: fc.Arbitrary<Program>): fc.Arbitrary<Program[]> =>
  fc.array(part, { minLength: 2, maxLength: 3 })

const { tree } = fc.letrec<{ tree: Program }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    leaf,
    { weight: 2, arbitrary: several(tie('tree')).map((of): Program => ({ kind: 'seq', of })) },
    { weight: 2, arbitrary: several(tie('tree')).map((of): Program => ({ kind: 'all', of })) },
    { weight: 3, arbitrary: several(tie('tree')).map((of): Program => ({ kind: 'race', of })) },
  ),
}))

/** Never a leaf alone. */
export const anyProgram: fc.Arbitrary<Program> = fc
  .tuple(fc.constantFrom('seq' as const, 'all' as const, 'race' as const), several(tree))
  .map(([kind, of]) => ({ kind, of }))

export const loopTopic = (path: string): string => `loops/${path}`

export function topicsOf(program: Program, path = 'p'): string[] {
  if (program.kind === 'wait') return [`waits/${program.topic}`]
  if (program.kind === 'loop') return [loopTopic(path)]
  return 'of' in program ? program.of.flatMap((part, index) => topicsOf(part, `${path}.${index}`)) : []
}

/** What a program comes to, as text. Each way through a race runs a step of its own. */
export async function evaluate(
  program: Program,
  of: (leaf: Leaf) => Promise<string>,
  path = 'p',
): Promise<string> {
  const part = async (index: number): Promise<string> =>
    'of' in program ? await evaluate(program.of[index] as Program, of, `${path}.${index}`) : ''
  if (program.kind === 'wait') return await of({ ...program, key: path, topic: `waits/${program.topic}` })
  if (program.kind === 'loop') {
    const taken: string[] = []
    for (let n = 0; n < program.times; n += 1) {
      const topic = loopTopic(path)
      taken.push(await of({ kind: 'wait', key: `${path}.${n}`, topic, timeoutMs: 24 * HOUR_MS }))
      await of({ kind: 'run', key: `${path}.took-${n}` })
    }
    return `loop(${taken.join(',')})`
  }
  if (program.kind === 'seq') {
    const texts: string[] = []
    for (const index of program.of.keys()) texts.push(await part(index))
    return `seq(${texts.join(',')})`
  }
  if (program.kind === 'all') return `all(${(await Promise.all([...program.of.keys()].map(part))).join(',')})`
  if (program.kind === 'race') {
    const parts = [...program.of.keys()].map(async (index) => ({ index, text: await part(index) }))
    const winner = await Promise.race(parts)
    const after = await of({ kind: 'run', key: `${path}.after-${winner.index}` })
    return `race(${winner.index}:${winner.text},${after})`
  }
  return await of({ kind: program.kind, key: path })
}

/** A leaf as a step of a run; its text tells this result from any other that the step might have had. */
export async function stepOf(
  ctx: WorkflowContext,
  called: Leaf,
  body: () => Promise<string>,
): Promise<string> {
  const { key } = called
  if (called.kind === 'run') return await ctx.step.run(key, body)
  if (called.kind === 'value') return await ctx.step.uuid(key)
  if (called.kind === 'publish') {
    const { sequenceId } = await ctx.step.publishEvent(key, { topic: 'published/by-runs', data: key })
    return `published ${sequenceId}`
  }
  if (called.kind === 'invoke') {
    const { id } = await ctx.step.invoke(key, 'child', key)
    return `invoked ${id}`
  }
  if (called.kind === 'sleep') {
    await ctx.step.sleep(key, '1h')
    return 'slept'
  }
  try {
    if (!('topic' in called)) return String(await saidTo(ctx, called))
    const { topic, timeoutMs } = called
    const { sequenceId } = await ctx.step.waitForEvent(key, { topic, timeout: timeoutMs / 1_000 })
    return `event ${sequenceId}`
  } catch (error) {
    if (error instanceof WaitTimeoutError) return 'timed out'
    throw error
  }
}

const saidTo = async (ctx: WorkflowContext, { kind, key }: Leaf): Promise<unknown> =>
  kind === 'child'
    ? await ctx.step.invokeAndWait(key, 'child', key, { timeout: '1d' })
    : await ctx.step.suspend(key)

/** The same text, from what is stored. */
export function storedText({ step_kind, output, error }: StoredStep): string {
  if (error !== null) return 'timed out'
  const value = JSON.parse(output ?? 'null') as { sequence_id: number } | { run_id: string } | string
  if (step_kind === 'time') return 'slept'
  if (typeof value === 'string') return value
  if ('run_id' in value) return `invoked ${value.run_id}`
  return `${step_kind === 'event' ? 'event' : 'published'} ${value.sequence_id}`
}

/** What the program must come to by what is stored: each result given in its order, once the code rests. */
export async function referenceOf(program: Program, stored: readonly StoredStep[]): Promise<string | null> {
  const open = new Map<string, (text: string) => void>()
  let text: string | null = null
  const given = async (called: Leaf): Promise<string> =>
    await new Promise((resolve) => {
      open.set(called.key, resolve)
    })
  const evaluated = async (): Promise<void> => {
    text = await evaluate(program, given)
  }
  evaluated().catch(() => {})
  for (const step of stored) {
    await turn()
    const give = open.get(step.key)
    if (give === undefined)
      throw new Error(`step ${step.key} is stored, but nothing stored before it calls it`)
    give(storedText(step))
  }
  await turn()
  return text
}

const turn = async (): Promise<void> => {
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
}
