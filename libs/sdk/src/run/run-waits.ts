import type { CommandReply, StoredStep, WaitCommand } from '@headrace/schemas'
import { ReplayMismatchError } from '../errors/run-error.ts'
import { LimitExceededError, NonRetryableError } from '../errors/step-error.ts'
import { storedErrorOf } from '../errors/stored-error.ts'
import type { RunParts } from './run-parts.ts'
import type { WaitCall } from './step-call.ts'

/** How often answers are asked for while a body keeps the run from being parked. */
const LOOK_EVERY_MS = 1_000

/** The waits of one run: registers them, and takes the answers that come while the run is in hand. */
export class RunWaits {
  readonly #parts: RunParts
  #looking = false

  constructor(parts: RunParts) {
    this.#parts = parts
  }

  register(call: WaitCall): void {
    const { claimed, machine, trace, hurry, isRunning, withhold, send } = this.#parts
    if (!isRunning()) return
    if (hurry.aborted) return withhold()
    const { key, kind, wait } = call
    trace.waits(key, kind)
    const command: WaitCommand = {
      kind: 'wait',
      run_id: claimed.run_id,
      epoch: claimed.epoch,
      key,
      // Not the observed wake: an answer that the code has not seen yet may have come to another wait on this topic, and
      // its event answers this one as well.
      seen: machine.receivedBefore(key),
      wait,
    }
    send(command, (reply) => this.#registered(call, reply))
  }

  #registered(call: WaitCall, reply: CommandReply): void {
    const { machine, isRunning, goOn, notOurs } = this.#parts
    // Held, ended or given back meanwhile. Not while it parks: it does that when every wait is registered.
    if (!isRunning()) return
    if (reply.kind === 'refused') this.#refused(call, reply)
    else if (reply.kind === 'answers') this.take(reply)
    else if (reply.kind !== 'waiting') return notOurs(reply)
    machine.registered(call.key)
    goOn()
  }

  #refused({ key, kind }: WaitCall, { code, detail }: { code: string; detail: string }): void {
    const { machine, keep, pause } = this.#parts
    if (code === 'replay_mismatch') {
      const error = new ReplayMismatchError({ stepKey: key, storedKind: kind, calledKind: kind, detail })
      return pause('replay_mismatch', error, key)
    }
    // Arguments and counts were checked here before; this is for what only the orchestrator knows.
    const message = `step "${key}" cannot wait: ${detail}`
    const error =
      code === 'too_many_open_waits'
        ? new LimitExceededError({ limit: 'openWaitsPerRunMax', message })
        : new NonRetryableError(`${message} (${code})`)
    error.stack = `${error.name}: ${error.message}`
    if (machine.refused(key))
      keep(key, { output: null, error: JSON.stringify(storedErrorOf(error, key)), attempts: 1 })
  }

  /** Answers came, perhaps also to waits that the code has not called yet in this replay. */
  take({ wake, steps }: { wake: number; steps: readonly StoredStep[] }): void {
    for (const step of this.#parts.machine.answered(wake, steps)) this.#parts.keep(step.key, step)
  }

  /** While a body runs nobody tells this worker of answers: it asks. */
  look(bodies: { readonly running: number }): void {
    const { claimed, host, machine, hurry, isRunning, send, goOn, notOurs } = this.#parts
    const isNeeded = (): boolean =>
      isRunning() && !hurry.aborted && machine.parkedCount > 0 && bodies.running > 0
    if (this.#looking || !isNeeded()) return
    this.#looking = true
    const asked = (): void => {
      this.#looking = false
      if (!isNeeded()) return
      this.#looking = true
      const { run_id, epoch } = claimed
      send({ kind: 'look', run_id, epoch, seen: machine.wake }, (reply) => {
        this.#looking = false
        // The run was parked meanwhile, or is on its way out: that has an answer of its own.
        if (!isRunning()) return
        if (reply.kind === 'answers') this.take(reply)
        else if (reply.kind !== 'waiting') return notOurs(reply)
        goOn()
      })
    }
    host.delay(LOOK_EVERY_MS, hurry.signal).then(asked, asked)
  }
}
