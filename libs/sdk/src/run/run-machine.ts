import { answerKinds, limits, type StepKind } from '@headrace/schemas'

/**
 * The rules by which a run replays and goes on: pure, without clock, promise or I/O. The shell (run-execution.ts) tells
 * it what happened and does what it answers.
 *
 * A step of the run is, in this order:
 *
 *     called ──▶ waiting ──▶ running ──────────────▶ ready ──▶ handed out
 *        │          └─────▶ registering ──▶ parked ───▲▲
 *        └───────────────── stored ────────────────────┘
 *
 * `waiting`: its body may not start yet, or its wait not be registered (I3). `ready`: there is a result, which the
 * workflow's code has not seen. A stored step goes from called to ready at once. A result that ended here is also
 * `unacked` until the orchestrator has stored it; the workflow's code does not wait for that, the next body does.
 *
 * A wait (a step that is answered from outside) has no body: it is `registering` until the orchestrator knows it,
 * `parked` until its answer comes. An answer is stored before anybody hears of it.
 *
 * I1 A key is called once in a run, and always as the same kind.
 * I2 A stored step's body never runs.
 * I3 A body starts, and a wait is registered, only when every result that was handed out before its call is stored: what
 *    it does, or waits for, may depend on them, and a replay must not find them gone.
 * I4 Results are handed out one at a time, that which happened first of the ready ones, and the next only when the
 *    workflow's code has come to rest. So `Promise.race` and every other choice falls the same way on each replay.
 * I5 Results happened in the order (seen, answers first, n). `n` rises in the order in which bodies end, and is higher
 *    than any stored one; `seen` is the wake observed by then, of an answer the wake it made.
 * I6 The observed wake rises only with all answers up to it in hand: what ends afterwards happened after them.
 * I7 A run may park only when nothing but answers can move it: no result unseen or unstored, no body running, every wait
 *    registered.
 * I8 A run ends only when every publish and every invoke that its code called has a result: it is not the code's to await it.
 */
export type StepState = 'waiting' | 'running' | 'registering' | 'parked' | 'ready' | 'handed_out'

export type CallAnswer =
  | { kind: 'replay' }
  /** Start its body, or register it. */
  | { kind: 'start' }
  /** Start it when `acked` names it. */
  | { kind: 'wait' }
  | { kind: 'key_twice' }
  | { kind: 'other_kind'; storedKind: StepKind }
  | { kind: 'too_many_steps' }
  | { kind: 'too_many_waits' }

/** When a result happened (I5). Of an answer `n` is -1: before all that ended after it came. */
interface Place {
  readonly seen: number
  readonly n: number
}

interface MachineStep {
  readonly key: string
  readonly kind: StepKind
  state: StepState
  /** Null until it has a result. */
  place: Place | null
  /** The highest `n` that had been handed out at its call: what I3 is about. */
  readonly afterN: number
  /** The highest wake that had been handed out at its call. */
  readonly received: number
}

export interface StoredResult {
  readonly key: string
  readonly step_kind: StepKind
  readonly n: number
  readonly seen: number
}

const BEGIN: Place = { seen: -1, n: -1 }
const isAfter = (a: Place, b: Place): boolean => a.seen > b.seen || (a.seen === b.seen && a.n > b.n)
const answers = new Set<StepKind>(answerKinds)
export const isWait = (kind: StepKind): boolean => answers.has(kind)
/** I8 */
export const isOwed = (kind: StepKind): boolean => kind === 'publish' || kind === 'invoke'
const placeOf = ({ step_kind, seen, n }: StoredResult): Place => ({ seen, n: isWait(step_kind) ? -1 : n })

export class RunMachine {
  readonly #stored = new Map<string, { kind: StepKind; place: Place }>()
  readonly #called = new Map<string, MachineStep>()
  readonly #ready: MachineStep[] = []
  readonly #waiting = new Set<MachineStep>()
  readonly #unacked = new Set<number>()
  readonly #counts: Record<StepState, number> = zeroCounts()
  #steps = 0
  #openWaits = 0
  #owed = 0
  #nextN = 0
  #wake: number
  #handed: Place = BEGIN
  #handedN = -1
  #received = 0
  #lastStored: Place = BEGIN

  constructor(run: { wake: number; steps: readonly StoredResult[] }) {
    this.#wake = run.wake
    for (const step of run.steps) {
      this.#steps += 1
      this.#keep(step.key, step.step_kind, placeOf(step))
    }
  }

  #keep(key: string, kind: StepKind, place: Place): void {
    this.#stored.set(key, { kind, place })
    if (isAfter(place, this.#lastStored)) this.#lastStored = place
    this.#nextN = Math.max(this.#nextN, place.n + 1)
  }

  /** True until everything that was stored when the code began has been handed out again. */
  get replaying(): boolean {
    return isAfter(this.#lastStored, this.#handed)
  }
  get readyCount(): number {
    return this.#ready.length
  }
  /** The highest wake whose answers, and all before them, are known here. */
  get wake(): number {
    return this.#wake
  }
  /** Waits that the orchestrator knows, without an answer. */
  get parkedCount(): number {
    return this.#counts.parked
  }
  /** I8 */
  get mayEnd(): boolean {
    return this.#owed === 0
  }
  /** I7 */
  get mayPark(): boolean {
    const { waiting, running, registering, ready, parked } = this.#counts
    return parked > 0 && waiting + running + registering + ready + this.#unacked.size === 0
  }

  /** The workflow's code calls a step. A `value` is made on the spot and does nothing outside: it never waits. */
  call(key: string, kind: StepKind): CallAnswer {
    if (this.#called.has(key)) return { kind: 'key_twice' } // I1
    const stored = this.#stored.get(key)
    if (stored !== undefined && stored.kind !== kind) return { kind: 'other_kind', storedKind: stored.kind } // I1
    if (stored === undefined && this.#steps >= limits.stepsPerRunMax) return { kind: 'too_many_steps' }
    // By what the code has seen, not by what has come: so every replay is refused the same wait.
    if (isWait(kind) && this.#openWaits >= limits.openWaitsPerRunMax) return { kind: 'too_many_waits' }
    const step: MachineStep = {
      key,
      kind,
      state: 'waiting',
      place: null,
      afterN: this.#handedN,
      received: this.#received,
    }
    this.#called.set(key, step)
    this.#counts.waiting += 1
    if (isWait(kind)) this.#openWaits += 1
    if (stored !== undefined) {
      this.#haveResult(step, stored.place) // I2
      return { kind: 'replay' }
    }
    this.#steps += 1
    if (isOwed(kind)) this.#owed += 1
    if (kind === 'value' || this.#mayStart(step)) {
      this.#start(step)
      return { kind: 'start' }
    }
    this.#waiting.add(step)
    return { kind: 'wait' }
  }

  #mayStart(step: MachineStep): boolean {
    for (const n of this.#unacked) if (n <= step.afterN) return false
    return true // I3
  }

  #start(step: MachineStep): void {
    this.#move(step, isWait(step.kind) ? 'registering' : 'running')
  }

  #move(step: MachineStep, state: StepState): void {
    this.#counts[step.state] -= 1
    this.#counts[state] += 1
    step.state = state
  }

  /** A body ended, well or not; returns its place, with which the result is sent to be stored. */
  ended(key: string): { n: number; seen: number } {
    const step = this.#step(key, 'running')
    const place = this.#nextPlace()
    if (isOwed(step.kind)) this.#owed -= 1
    this.#unacked.add(place.n)
    this.#haveResult(step, place)
    return place
  }

  #nextPlace(): Place {
    return { seen: this.#wake, n: this.#nextN++ } // I5
  }

  #haveResult(step: MachineStep, place: Place): void {
    step.place = place
    this.#move(step, 'ready')
    this.#waiting.delete(step)
    let index = this.#ready.length
    while (index > 0 && isAfter(this.#ready[index - 1]?.place ?? BEGIN, place)) index -= 1
    this.#ready.splice(index, 0, step)
  }

  /** The key of the result to hand out next, now that the code is at rest; null when there is none. */
  handOut(): string | null {
    const step = this.#ready.shift() // I4
    if (step === undefined) return null
    this.#move(step, 'handed_out')
    const place = step.place ?? BEGIN
    if (isAfter(place, this.#handed)) this.#handed = place
    this.#handedN = Math.max(this.#handedN, place.n)
    if (isWait(step.kind)) {
      this.#openWaits -= 1
      // A refusal is no answer: it has an n.
      if (place.n < 0) this.#received = Math.max(this.#received, place.seen)
    }
    return step.key
  }

  /** The result `n` is stored; returns the keys of the steps that may start now, in the order of their calls. */
  acked(n: number): string[] {
    this.#unacked.delete(n)
    const keys: string[] = []
    for (const step of this.#waiting) {
      if (!this.#mayStart(step)) continue
      this.#waiting.delete(step)
      this.#start(step)
      keys.push(step.key)
    }
    return keys
  }

  // --- waits ---

  /** The highest wake that the code had been handed when it called this wait. */
  receivedBefore(key: string): number {
    return this.#called.get(key)?.received ?? this.#received
  }

  /** The orchestrator knows the wait. Its answer may be here already, or the code have begun again: then nothing. */
  registered(key: string): void {
    const step = this.#called.get(key)
    if (step?.state === 'registering') this.#move(step, 'parked')
  }

  /** The wait will never be answered: its result is an error that is not stored. False: it is not awaited any more. */
  refused(key: string): boolean {
    const step = this.#called.get(key)
    if (step?.state !== 'registering') return false
    this.#haveResult(step, this.#nextPlace())
    return true
  }

  /**
   * Answers came: all beyond a wake observed earlier, up to `wake` (I6). Known ones are passed over; one whose wait the
   * code has not called yet in this replay is there when it does. Returns the new ones.
   */
  answered<Result extends StoredResult>(wake: number, results: readonly Result[]): Result[] {
    const fresh = results.filter(({ key, seen }) => seen > this.#wake && !this.#stored.has(key))
    this.#wake = Math.max(this.#wake, wake)
    for (const result of fresh) {
      const place = placeOf(result)
      // Not by #keep: the code hears of it for the first time, so nothing is replayed.
      this.#stored.set(result.key, { kind: result.step_kind, place })
      const step = this.#called.get(result.key)
      if (step === undefined) this.#steps += 1
      // Called as another kind, its body goes on; the stored result is met when that is stored.
      else if (step.place === null && step.kind === result.step_kind) this.#haveResult(step, place)
    }
    return fresh
  }

  /**
   * The code begins again from what it has (an error of the handler's own code, retried). Only when no body runs:
   * everything that ended is then as good as stored; what waited, for its turn or for its answer, is called again.
   */
  restart(): void {
    for (const { key, kind, place } of this.#called.values()) {
      if (this.#stored.has(key)) continue
      if (place !== null && !isWait(kind)) this.#keep(key, kind, place)
      else this.#steps -= 1
    }
    for (const { place } of this.#stored.values())
      if (isAfter(place, this.#lastStored)) this.#lastStored = place
    this.#called.clear()
    this.#waiting.clear()
    this.#ready.length = 0
    Object.assign(this.#counts, zeroCounts())
    this.#openWaits = 0
    this.#owed = 0
    this.#handed = BEGIN
    this.#handedN = -1
    this.#received = 0
  }

  #step(key: string, state: StepState): MachineStep {
    const step = this.#called.get(key)
    if (step?.state !== state)
      throw new Error(`step "${key}" is ${step?.state ?? 'not called'}, not ${state}`)
    return step
  }
}

const zeroCounts = (): Record<StepState, number> => ({
  waiting: 0,
  running: 0,
  registering: 0,
  parked: 0,
  ready: 0,
  handed_out: 0,
})
