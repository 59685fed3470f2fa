import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { inOrder } from '../../test/memory-orchestrator.ts'
import { RunBench } from '../../test/run-bench.ts'
import {
  anyProgram,
  evaluate,
  type Leaf,
  loopTopic,
  type Program,
  referenceOf,
  stepOf,
  storedText,
  topicsOf,
} from '../../test/wait-program.ts'
import { workflow } from '../workflow/workflow.ts'

/**
 * Random programs under random schedules: bodies end, commands are taken and answered in any order, events come, waits
 * are answered in any order, time passes, the code throws and begins again, workers are told to stop or die at any command, before and after its effect, and
 * what a dead one had sent arrives late. A failing one is printed by fast-check with its seed and path.
 */
type Move =
  | { kind: 'end' | 'commit' | 'answer' | 'event' | 'correlate'; which: number }
  | { kind: 'settle' | 'rest' | 'crash' | 'straggle' | 'claim' | 'elapse' | 'hour' | 'throw' }
  | { kind: 'release'; atOnce: boolean }
  | { kind: 'prompt'; on: boolean }

const which = (kind: 'end' | 'commit' | 'answer' | 'event' | 'correlate'): fc.Arbitrary<Move> =>
  fc.record({ kind: fc.constant(kind), which: fc.nat(11) })
const plain = (
  kind: Exclude<Move['kind'], 'release' | 'prompt' | 'end' | 'commit' | 'answer' | 'event' | 'correlate'>,
) => fc.constant<Move>({ kind })
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 5, arbitrary: which('end') },
  { weight: 6, arbitrary: which('commit') },
  { weight: 6, arbitrary: which('answer') },
  { weight: 4, arbitrary: which('event') },
  { weight: 6, arbitrary: which('correlate') },
  { weight: 3, arbitrary: plain('settle') },
  { weight: 9, arbitrary: plain('rest') },
  { weight: 4, arbitrary: plain('claim') },
  { weight: 1, arbitrary: plain('crash') },
  { weight: 1, arbitrary: plain('straggle') },
  { weight: 1, arbitrary: plain('elapse') },
  { weight: 1, arbitrary: plain('throw') },
  { weight: 1, arbitrary: plain('hour') },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const), atOnce: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('prompt' as const), on: fc.boolean() }) },
)

interface Handed {
  key: string
  text: string
}

/** One try of the handler: what was stored when it began with a claim, and what its code was handed. */
interface Life {
  epoch: number
  /** Its code threw, perhaps where nobody looked: then it called less than was stored. */
  threw: boolean
  storedFirst: Handed[]
  handed: Handed[]
  /** What the code had been handed when it called each step. */
  before: Map<string, Handed[]>
}

class Trial {
  readonly bench: RunBench
  readonly lives: Life[] = []
  readonly faults: string[] = []
  readonly #topics: string[]
  #bodies: { key: string; end: () => void }[] = []
  #made = 0
  /** The code throws where it calls its next step, and begins again. */
  #throws = false

  constructor(program: Program) {
    this.#topics = topicsOf(program)
    const flow = workflow({ id: 'flow', retries: { maxAttempts: 100 } }, async (ctx) => {
      const life = this.#begunLife()
      return await evaluate(program, async (called) => {
        if (this.#throws) {
          this.#throws = false
          life.threw = true
          throw new Error('flaky')
        }
        life.before.set(called.key, [...life.handed])
        const text = await stepOf(ctx, called, async () => await this.#body(called, life))
        life.handed.push({ key: called.key, text })
        return text
      })
    })
    this.bench = new RunBench(flow, { prompt: false })
    this.bench.orchestrator.prompt = false
    // A try that threw may have sent it.
    this.bench.orchestrator.onBegin = (key) => {
      const life = this.lives.findLast(({ before }) => before.has(key))
      this.#checkStored(key, life ?? this.#life)
    }
    this.claim()
  }

  get #life(): Life {
    const life = this.lives.at(-1)
    if (life === undefined) throw new Error('the run was never claimed')
    return life
  }

  #beginLife(storedFirst: Handed[]): void {
    const { epoch } = this.bench.run
    this.lives.push({ epoch, threw: false, storedFirst, handed: [], before: new Map() })
  }

  #begunLife(): Life {
    // The first try has one since its claim.
    if (this.#life.handed.length + this.#life.before.size > 0 || this.#life.threw) this.#beginLife([])
    return this.#life
  }

  get isOver(): boolean {
    return this.bench.run.status === 'completed' || this.bench.run.status === 'failed'
  }

  async #body({ key }: Leaf, life: Life): Promise<string> {
    if (this.bench.run.steps.has(key)) this.faults.push(`the body of ${key} runs though it is stored`)
    this.#checkStored(key, life)
    this.#made += 1
    const text = `${key}#${this.#made}`
    await new Promise<void>((resolve) => {
      this.#bodies.push({ key, end: resolve })
    })
    return text
  }

  /** I3: a body, a wait and a publish begin when all that the code had seen is stored, as it was seen. */
  #checkStored(key: string, life: Life): void {
    for (const seen of life.before.get(key) ?? [{ key: 'nothing', text: '' }]) {
      const step = this.bench.run.steps.get(seen.key)
      if (step === undefined || storedText(step) !== seen.text)
        this.faults.push(`${key} begins before ${seen.key} is stored as it was seen`)
    }
  }

  claim(): void {
    const { bench } = this
    if (bench.run.status !== 'queued') return
    const stored = inOrder(bench.run.steps.values())
    this.#beginLife(stored.map((step) => ({ key: step.key, text: storedText(step) })))
    bench.claim()
  }

  /** Something happens outside: an event comes, a child ends, somebody answers. */
  emit(choice: number): void {
    const { orchestrator, run } = this.bench
    const acts = this.#topics.map((topic) => () => orchestrator.emit(topic, null))
    for (const { key, kind, wake, resumedWith } of run.waits.values()) {
      const text = `${key} said ${orchestrator.log.length}`
      if (wake !== null) continue
      if (kind === 'run') acts.push(() => orchestrator.endChild(run.id, key, { output: text }))
      if (kind === 'resume' && resumedWith === null) acts.push(() => orchestrator.resume(run.id, key, text))
    }
    acts[choice % Math.max(1, acts.length)]?.()
  }

  async play(one: Move): Promise<void> {
    const { bench } = this
    switch (one.kind) {
      case 'end':
        return this.endBody(one.which)
      case 'commit':
        return bench.commit(one.which)
      case 'answer':
        return bench.answer(one.which)
      case 'event':
        return this.emit(one.which)
      case 'correlate':
        return this.correlate(one.which)
      case 'settle':
        return bench.settle()
      case 'rest':
        return await bench.rest(2)
      case 'crash':
        // An answer that has arrived is taken first: the dead go on with nothing.
        await bench.rest(1)
        return bench.crash()
      case 'straggle':
        return bench.straggle()
      case 'claim':
        return this.claim()
      case 'elapse':
        return bench.elapse()
      case 'throw':
        this.#throws = true
        return
      case 'hour':
        bench.now += 3_600_000
        return
      case 'release':
        return bench.execution?.release({ atOnce: one.atOnce })
      case 'prompt':
        bench.orchestrator.prompt = one.on
    }
  }

  endBody(choice: number): void {
    const [body] = this.#bodies.splice(choice % Math.max(1, this.#bodies.length), 1)
    body?.end()
  }

  correlate(choice: number): void {
    const { orchestrator } = this.bench
    const open = orchestrator.answerable()
    const answered = open[choice % Math.max(1, open.length)]
    if (answered !== undefined) orchestrator.answer(answered.runId, answered.key)
  }

  /** From here on everything goes well: the run must come to its end. */
  async finish(): Promise<void> {
    const { bench } = this
    for (let turn = 0; turn < 1_000 && !this.isOver; turn += 1) {
      this.claim()
      this.endBody(turn)
      bench.settle()
      bench.elapse()
      await bench.rest(2)
      if (bench.run.status === 'waiting') this.#wake(turn)
    }
    bench.settle()
    await bench.rest(2)
  }

  #wake(choice: number): void {
    const { bench } = this
    if (bench.orchestrator.answerable().length === 0) {
      this.emit(choice)
      bench.now += 1_800_000
    }
    const hadAnswer = bench.orchestrator.answerable().length > 0
    this.correlate(choice)
    if (hadAnswer && bench.run.status === 'waiting') this.faults.push('an answer left the run parked')
  }
}

function loopsOf(program: Program, path = 'p'): { path: string; times: number }[] {
  if (program.kind === 'loop') return [{ path, times: program.times }]
  return 'of' in program ? program.of.flatMap((part, index) => loopsOf(part, `${path}.${index}`)) : []
}

test('whatever dies and whatever order answers come in: every replay takes the branch that is stored, no stored body runs again, nothing waits for ever', async () => {
  const met = { children: 0, threw: 0, suspended: 0, raced: 0, lives: 0, timedOut: 0, answers: 0 }
  await fc.assert(
    fc.asyncProperty(
      anyProgram,
      fc.array(move, { minLength: 30, maxLength: 220, size: 'max' }),
      async (program, moves) => {
        const trial = new Trial(program)
        for (const one of moves) await trial.play(one)
        await trial.finish()
        const { bench } = trial
        expect(bench.run.status).toBe('completed')
        expect(trial.faults).toEqual([])
        expect(bench.stats).toMatchObject({ stepsRerun: 0, runsPaused: 0, runsFailed: 0 })

        const stored = inOrder(bench.run.steps.values())
        expect(bench.result()).toBe(await referenceOf(program, stored))
        const place = new Map(
          stored.map((step, index) => [`${step.key} ${storedText(step)}`, { index, epoch: step.epoch }]),
        )
        for (const { epoch, threw, storedFirst, handed } of trial.lives) {
          // What was stored is handed out first, whole and in its order, as far as this life came.
          const first = threw ? [] : storedFirst
          expect(handed.slice(0, first.length)).toEqual(first.slice(0, handed.length))
          // The id of a child is the same again where it was not stored the first time: only what this life could know.
          const places = handed.flatMap(({ key, text }) => {
            const there = place.get(`${key} ${text}`)
            return there === undefined || there.epoch > epoch ? [] : there.index
          })
          expect(places).toEqual([...places].sort((a, b) => a - b))
        }
        // A loop sees its topic's events in order, none twice and none left out.
        for (const { path, times } of loopsOf(program)) {
          const events = bench.orchestrator.log.filter((event) => event.topic === loopTopic(path))
          const taken = Array.from({ length: times }, (_, n) => bench.run.steps.get(`${path}.${n}`))
            .flatMap((step) => (step === undefined ? [] : [storedText(step)]))
            .filter((text) => text !== 'timed out')
          expect(taken).toEqual(events.slice(0, taken.length).map((event) => `event ${event.sequence_id}`))
        }
        // One child for each step that starts one, however often it was asked for.
        const children = [...bench.orchestrator.runs.values()].flatMap(({ parent }) => parent?.key ?? [])
        expect(children).toEqual([...new Set(children)])
        met.children += children.length
        met.suspended += bench.stats.runsSuspended
        met.lives += trial.lives.length
        met.threw += trial.lives.filter(({ threw }) => threw).length
        met.timedOut += stored.filter((step) => step.error !== null).length
        met.raced += stored.filter((step) => step.key.includes('.after-')).length
        met.answers += stored.filter((step) => step.seen > 0).length
      },
    ),
    { numRuns: 1_000 },
  )
  // The schedules meet what they are for.
  for (const count of Object.values(met)) expect(count).toBeGreaterThan(100)
}, 300_000)
