import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { RunBench } from '../../test/run-bench.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'

/**
 * Random schedules: bodies end, commands are committed, answers arrive and workers die in any order. A failing one is
 * printed by fast-check with its seed.
 */
type Move = { kind: 'end'; which: number } | { kind: 'commit' | 'answer' | 'settle' | 'crash' | 'rest' }
const plain = (kind: Exclude<Move['kind'], 'end'>): fc.Arbitrary<Move> => fc.constant({ kind })
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(5) }) },
  { weight: 3, arbitrary: plain('settle') },
  { weight: 3, arbitrary: plain('commit') },
  { weight: 3, arbitrary: plain('answer') },
  { weight: 6, arbitrary: plain('rest') },
  { weight: 1, arbitrary: plain('crash') },
)

/** What the code had seen when it called a step. */
const needs: Record<string, string[]> = {
  first: ['id'],
  'left-2': ['left-1'],
  'right-2': ['right-1'],
  hare: ['left-2', 'right-2'],
  snail: ['left-2', 'right-2'],
  'after-hare': ['hare'],
  'after-snail': ['snail'],
  'tail-2': ['tail-1'],
  'tail-3': ['tail-2'],
}

/** Bodies whose end is the schedule's to decide; every start is noted with what was stored at that moment. */
class Bodies {
  open: { key: string; end: () => void }[] = []
  readonly startedThoughStored: string[] = []
  readonly startedBeforeStored: string[] = []
  readonly #stored: () => ReadonlyMap<string, unknown>
  #made = 0

  constructor(stored: () => ReadonlyMap<string, unknown>) {
    this.#stored = stored
  }

  /** Each run of a body returns another value: only a stored one is seen twice. */
  readonly body = (key: string) => async (): Promise<string> => {
    if (this.#stored().has(key)) this.startedThoughStored.push(key)
    for (const needed of needs[key] ?? ['id', 'first'])
      if (!this.#stored().has(needed)) this.startedBeforeStored.push(`${key} before ${needed}`)
    this.#made += 1
    const value = `${key}#${this.#made}`
    await new Promise<void>((resolve) => {
      this.open.push({ key, end: resolve })
    })
    return value
  }

  end(which: number): void {
    if (this.open.length === 0) return
    const [body] = this.open.splice(which % this.open.length, 1)
    body?.end()
  }
}

/** Sequence, parallel branches, a race that decides what follows, and a loop: everything order can go wrong in. */
const handler =
  (bodies: () => Bodies) =>
  async (ctx: WorkflowContext): Promise<unknown> => {
    const run = async (key: string): Promise<string> => await ctx.step.run(key, bodies().body(key))
    const id = await ctx.step.uuid('id')
    const first = await run('first')
    const branch = async (name: string): Promise<string> =>
      `${await run(`${name}-1`)},${await run(`${name}-2`)}`
    const [left, right] = await Promise.all([branch('left'), branch('right')])
    const winner = await Promise.race([
      // Its branch takes several turns of the microtask queue: a result handed out in the same breath would overtake it.
      run('hare').then(async (value) => {
        for (let turn = 0; turn < 5; turn += 1) await Promise.resolve()
        return value.slice(0, 4)
      }),
      run('snail').then(() => 'snail'),
    ])
    const after = await run(`after-${winner}`)
    // The loser ends meanwhile, and is stored after what its loss decided.
    const tail = [await run('tail-1'), await run('tail-2'), await run('tail-3')]
    return { id, first, left, right, winner, after, tail }
  }

test('whatever the order of ends, commits, answers and crashes: a stored body never starts again, and every replay chooses the same', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(move, { minLength: 60, maxLength: 250, size: 'max' }), async (moves) => {
      let bodies: Bodies
      const bench = new RunBench(
        workflow(
          { id: 'flow' },
          handler(() => bodies),
        ),
        { prompt: false },
      )
      bodies = new Bodies(() => bench.run.steps)
      const claim = (): void => {
        bench.claim()
      }
      claim()
      for (const one of moves) {
        if (bench.end !== null) break
        if (one.kind === 'end') bodies.end(one.which)
        else if (one.kind === 'settle') bench.settle()
        else if (one.kind === 'commit') bench.commit()
        else if (one.kind === 'answer') bench.answer()
        else if (one.kind === 'crash' && bench.run.status === 'running') {
          bench.crash()
          bodies.open = []
          claim()
        } else await bench.rest(1)
      }
      for (let turn = 0; turn < 200 && bench.run.status === 'running'; turn += 1) {
        bodies.end(0)
        bench.settle()
        await bench.rest(2)
      }
      expect(bench.run.status).toBe('completed')
      expect(bodies.startedThoughStored).toEqual([])
      expect(bodies.startedBeforeStored).toEqual([])
      const stored = bench.run.steps
      const value = (key: string): unknown => JSON.parse(stored.get(key)?.output ?? 'null')
      const result = bench.result() as { winner: string }
      // What the run returned is what is stored, and the race was never run both ways.
      expect(result).toEqual({
        id: value('id'),
        first: value('first'),
        left: `${String(value('left-1'))},${String(value('left-2'))}`,
        right: `${String(value('right-1'))},${String(value('right-2'))}`,
        winner: result.winner,
        after: value(`after-${result.winner}`),
        tail: [value('tail-1'), value('tail-2'), value('tail-3')],
      })
      expect(stored.has(`after-${result.winner === 'hare' ? 'snail' : 'hare'}`)).toBe(false)
      expect(bench.stats.stepsRerun).toBe(0)
    }),
    { numRuns: 500 },
  )
})
