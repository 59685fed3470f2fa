import { setImmediate as immediate, setTimeout as delay } from 'node:timers/promises'
import { backoffMs } from '@headrace/core'
import { type Command, type CommandReply, type CommandsReply, limits } from '@headrace/schemas'
import { isSameResult } from '../run/run-bodies.ts'
import type { Logger } from '../run/run-host.ts'
import { bodyOf, type HttpAnswer, problemOf } from './http-exchange.ts'
import type { OrchestratorRoute } from './orchestrator-route.ts'
import { LinkClosedError } from './worker-link.ts'

interface Waiting {
  command: Command
  resolve: (reply: CommandReply) => void
  reject: (error: Error) => void
}

export interface CommandLaneParams {
  workerId: string
  route: OrchestratorRoute
  log: Logger
  /** Past this a request is made again. */
  requestTimeoutMs: number
  /** The orchestrator does not know this worker (any more): it must register again under a new id. */
  onUnknownWorker: () => void
  /** A fault of the lane itself: nothing it holds will be answered. */
  onFault: (error: unknown) => void
  /** Nothing is left to send. */
  onIdle: () => void
}

/** Half of what the orchestrator takes in one request: outputs are counted, the rest of a command is small. */
const BATCH_BYTES_MAX = limits.requestBytesMax / 2
const COMMAND_BYTES = 400
const resendDelays = { initialDelayMs: 50, factor: 2, maxDelayMs: 1_000, jitter: 0.5 }

/**
 * Commands gathered while one request of the lane is under way; no delay on purpose.
 *
 * The next request is made only once the answers to this one have been acted upon. And where an answer says that another
 * result stands for a step, a `complete` of its run that is gathered already, built on the other value, is refused here,
 * as the orchestrator refuses it when the two share a request.
 */
export class CommandLane {
  readonly #params: CommandLaneParams
  readonly #closed = new AbortController()
  #gathered: Waiting[] = []
  #inFlight: Waiting[] = []
  /** Runs of which a step of the request just answered met another result. */
  readonly #conflicting = new Set<string>()
  #busy = false

  constructor(params: CommandLaneParams) {
    this.#params = params
  }

  get pending(): number {
    return this.#gathered.length + this.#inFlight.length
  }

  send(command: Command): Promise<CommandReply> {
    return new Promise((resolve, reject) => {
      if (this.#closed.signal.aborted) return reject(new LinkClosedError('the link is closed'))
      this.#gathered.push({ command, resolve, reject })
      if (this.#busy) return
      this.#busy = true
      // At the end of this turn: a last step and the end of its run, given in one turn, share the request.
      setImmediate(() => this.#begin())
    })
  }

  close(): void {
    if (this.#closed.signal.aborted) return
    this.#closed.abort()
    const left = [...this.#inFlight, ...this.#gathered]
    this.#gathered = []
    this.#inFlight = []
    for (const { reject } of left) reject(new LinkClosedError('the link was closed'))
  }

  #begin(): void {
    // Only a fault of this class gets there; runs must not wait for answers that will not come.
    this.#drain().catch((error: unknown) => this.#params.onFault(error))
  }

  async #drain(): Promise<void> {
    while (this.#gathered.length > 0 && !this.#closed.signal.aborted) {
      this.#inFlight = this.#takeBatch()
      await this.#exchange(this.#inFlight)
      this.#inFlight = []
      await immediate()
      this.#refuseConflicting()
    }
    this.#busy = false
    this.#params.onIdle()
  }

  #refuseConflicting(): void {
    if (this.#conflicting.size === 0) return
    const refused = new Set(this.#gathered.filter((waiting) => this.#isBuiltOnConflict(waiting)))
    this.#gathered = this.#gathered.filter((waiting) => !refused.has(waiting))
    this.#conflicting.clear()
    for (const { resolve } of refused) resolve(CONFLICT)
  }

  #isBuiltOnConflict({ command }: Waiting): boolean {
    return command.kind === 'complete' && this.#conflicting.has(runOf(command))
  }

  #takeBatch(): Waiting[] {
    let bytes = 0
    let count = 0
    for (const { command } of this.#gathered) {
      bytes += COMMAND_BYTES + payloadLength(command)
      if (count > 0 && (bytes > BATCH_BYTES_MAX || count >= limits.commandsPerRequestMax)) break
      count += 1
    }
    if (count === this.#gathered.length) {
      const all = this.#gathered
      this.#gathered = []
      return all
    }
    return this.#gathered.splice(0, count)
  }

  /** Sends a batch until it is answered; a batch that is refused as a whole is sent command by command. */
  async #exchange(batch: Waiting[]): Promise<void> {
    const commands = batch.map((waiting) => waiting.command)
    const body = JSON.stringify({ worker_id: this.#params.workerId, commands })
    for (let attempts = 1; !this.#closed.signal.aborted; attempts += 1) {
      const answer = await this.#post(body)
      if (this.#closed.signal.aborted) return
      const outcome = answer === null ? null : readOutcome(answer, batch.length)
      if (outcome?.kind === 'replies') {
        if (batch === this.#inFlight) this.#inFlight = []
        for (const [index, waiting] of batch.entries()) {
          const reply = outcome.replies[index]
          if (reply === undefined) continue
          if (isConflict(waiting.command, reply)) this.#conflicting.add(runOf(waiting.command))
          waiting.resolve(reply)
        }
        return
      }
      if (outcome?.kind === 'unknown_worker') {
        this.#params.onUnknownWorker()
        return
      }
      if (outcome?.kind === 'refused') return await this.#refused(batch, outcome)
      this.#params.log.debug(
        { event: 'link.again', status: answer?.status ?? null },
        'sending commands again',
      )
      const waitMs = Math.max(backoffMs(resendDelays, attempts, Math.random()), answer?.retryAfterMs ?? 0)
      await delay(Math.min(waitMs, resendDelays.maxDelayMs), null, { signal: this.#closed.signal }).catch(
        () => {},
      )
    }
  }

  async #refused(batch: Waiting[], refusal: { code: string; detail: string }): Promise<void> {
    this.#params.log.error(
      { event: 'link.refused', ...refusal, commands: batch.length },
      'commands were refused',
    )
    const [only] = batch
    if (batch.length === 1 && only) return only.resolve({ kind: 'refused', ...refusal })
    for (const waiting of batch) {
      if (this.#isBuiltOnConflict(waiting)) waiting.resolve(CONFLICT)
      else await this.#exchange([waiting])
    }
  }

  async #post(body: string): Promise<HttpAnswer | null> {
    const { route, log, requestTimeoutMs: timeoutMs } = this.#params
    try {
      const signal = this.#closed.signal
      return await route.post('/v1/worker/commands', body, { timeoutMs, signal })
    } catch (error) {
      log.debug({ event: 'link.no_answer', error: String(error) }, 'no orchestrator answered')
      return null
    }
  }
}

const CONFLICT: CommandReply = {
  kind: 'refused',
  code: 'stored_step_differs',
  detail: 'a step that the result is built on met another stored result, which is the one that counts',
}

const isConflict = (command: Command, reply: CommandReply): boolean =>
  command.kind === 'step' && reply.kind === 'exists' && !isSameResult(reply.step, command)

const runOf = (command: Command): string => ('run_id' in command ? `${command.run_id}/${command.epoch}` : '')

type Outcome =
  | { kind: 'replies'; replies: CommandReply[] }
  | { kind: 'unknown_worker' }
  | { kind: 'refused'; code: string; detail: string }

/** Null: to be sent again. */
function readOutcome(answer: HttpAnswer, commands: number): Outcome | null {
  if (answer.status === 200) {
    const replies = (bodyOf(answer) as CommandsReply | null)?.replies
    return Array.isArray(replies) && replies.length === commands ? { kind: 'replies', replies } : null
  }
  const problem = problemOf(answer)
  if (problem?.code === 'unknown_worker') return { kind: 'unknown_worker' }
  const isFault = [400, 413, 422].includes(answer.status)
  return isFault && problem !== null ? { kind: 'refused', ...problem } : null
}

function payloadLength(command: Command): number {
  if (command.kind === 'step') return (command.output ?? command.error ?? '').length
  if (command.kind === 'complete') return command.output.length
  if (command.kind === 'fail') return command.error.length
  if (command.kind === 'publish') return command.data.length
  if (command.kind === 'invoke') return command.input.length
  if (command.kind !== 'wait') return 0
  if (command.wait.kind === 'run') return command.wait.input.length
  return command.wait.kind === 'event' ? (command.wait.filter ?? '').length : 0
}
