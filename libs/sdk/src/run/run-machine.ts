import { limits, type StepKind } from '@headrace/schemas'

/**
 * The rules by which a run replays and goes on: pure, without clock, promise or I/O. The shell (run-execution.ts) tells
 * it what happened and does what it answers.
 *
 * A step of the run is, in this order:
 *
 *     called ──▶ waiting ──▶ running ──▶ ready ──▶ handed out
 *        └──────────── stored ───────────▲
 *
 * `waiting`: its body may not start yet (I3). `ready`: there is a result, which the workflow's code has not seen. A
 * stored step goes from called to ready at once. A result that ended here is also `unacked` until the orchestrator has
 * stored it; the workflow's code does not wait for that, the next body does.
 *
 * I1 A key is called once in a run, and always as the same kind.
 * I2 A stored step's body never runs.
 * I3 A body starts only when every result that was handed out before its call is stored: what it does may depend on
 *    them, and a replay must not find them gone.
 * I4 Results are handed out one at a time, the lowest `n` of the ready ones first, and the next only when the
 *    workflow's code has come to rest. So `Promise.race` and every other choice falls the same way on each replay.
 * I5 `n` rises in the order in which bodies end, and is higher than any stored one.
 */
export type StepState = 'waiting' | 'running' | 'ready' | 'handed_out'

export type CallAnswer =
  | { kind: 'replay' }
  | { kind: 'start' }
  /** Start it when `acked` names it. */
  | { kind: 'wait' }
  | { kind: 'key_twice' }
  | { kind: 'other_kind'; storedKind: StepKind }
  | { kind: 'too_many' }

interface MachineStep {
  readonly key: string
  readonly kind: StepKind
  state: StepState
  /** Null until it has a result. */
  n: number | null
  /** While `waiting`: the highest `n` that had been handed out at its call. */
  waitsFor: number
}

export class RunMachine {
  readonly #stored = new Map<string, { kind: StepKind; n: number }>()
  readonly #called = new Map<string, MachineStep>()
  readonly #ready: MachineStep[] = []
  readonly #waiting = new Set<MachineStep>()
  readonly #unacked = new Set<number>()
  #steps = 0
  #nextN = 0
  #handedN = -1
  #storedN = -1

  constructor(stored: readonly { key: string; step_kind: StepKind; n: number }[]) {
    for (const { key, step_kind, n } of stored) this.#keep(key, step_kind, n)
  }

  #keep(key: string, kind: StepKind, n: number): void {
    this.#stored.set(key, { kind, n })
    this.#steps += 1
    this.#storedN = Math.max(this.#storedN, n)
    this.#nextN = Math.max(this.#nextN, n + 1)
  }

  /** True until everything that was stored when the code began has been handed out again. */
  get replaying(): boolean {
    return this.#handedN < this.#storedN
  }
  get readyCount(): number {
    return this.#ready.length
  }

  /** The workflow's code calls a step. A `value` is made on the spot and does nothing outside: it never waits. */
  call(key: string, kind: StepKind): CallAnswer {
    if (this.#called.has(key)) return { kind: 'key_twice' } // I1
    const stored = this.#stored.get(key)
    if (stored !== undefined && stored.kind !== kind) return { kind: 'other_kind', storedKind: stored.kind } // I1
    if (stored === undefined && this.#steps >= limits.stepsPerRunMax) return { kind: 'too_many' }
    const step: MachineStep = { key, kind, state: 'ready', n: stored?.n ?? null, waitsFor: this.#handedN }
    this.#called.set(key, step)
    if (stored !== undefined) {
      this.#insertReady(step) // I2
      return { kind: 'replay' }
    }
    this.#steps += 1
    if (kind === 'value' || this.#mayStart(step)) {
      step.state = 'running'
      return { kind: 'start' }
    }
    step.state = 'waiting'
    this.#waiting.add(step)
    return { kind: 'wait' }
  }

  #mayStart(step: MachineStep): boolean {
    for (const n of this.#unacked) if (n <= step.waitsFor) return false
    return true // I3
  }

  /** A body ended, well or not; returns its `n`, with which the result is sent to be stored. */
  ended(key: string): number {
    const step = this.#step(key, 'running')
    step.n = this.#nextN++ // I5
    step.state = 'ready'
    this.#unacked.add(step.n)
    this.#insertReady(step)
    return step.n
  }

  #insertReady(step: MachineStep): void {
    const n = step.n ?? 0
    let index = this.#ready.length
    while (index > 0 && (this.#ready[index - 1]?.n ?? 0) > n) index -= 1
    this.#ready.splice(index, 0, step)
  }

  /** The key of the result to hand out next, now that the code is at rest; null when there is none. */
  handOut(): string | null {
    const step = this.#ready.shift() // I4
    if (step === undefined) return null
    step.state = 'handed_out'
    this.#handedN = Math.max(this.#handedN, step.n ?? -1)
    return step.key
  }

  /** The result `n` is stored; returns the keys of the bodies that may start now, in the order of their calls. */
  acked(n: number): string[] {
    this.#unacked.delete(n)
    const keys: string[] = []
    for (const step of this.#waiting) {
      if (!this.#mayStart(step)) continue
      this.#waiting.delete(step)
      step.state = 'running'
      keys.push(step.key)
    }
    return keys
  }

  /**
   * The code begins again from what it has (an error of the handler's own code, retried). Only when nothing runs:
   * everything that ended is then as good as stored, and what waited or was never handed out is called again.
   */
  restart(): void {
    for (const { key, kind, n } of this.#called.values()) {
      if (this.#stored.has(key)) continue
      this.#steps -= 1
      if (n !== null) this.#keep(key, kind, n)
    }
    this.#called.clear()
    this.#waiting.clear()
    this.#ready.length = 0
    this.#handedN = -1
  }

  #step(key: string, state: StepState): MachineStep {
    const step = this.#called.get(key)
    if (step?.state !== state)
      throw new Error(`step "${key}" is ${step?.state ?? 'not called'}, not ${state}`)
    return step
  }
}
