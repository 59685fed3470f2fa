import { type Command, type CommandReply, streamOf } from '@headrace/schemas'
import type { Logger } from '../run/run-host.ts'
import { CommandLane } from './command-lane.ts'
import type { OrchestratorRoute } from './orchestrator-route.ts'
import { LinkClosedError, type WorkerLink } from './worker-link.ts'

export interface HttpLinkParams {
  workerId: string
  route: OrchestratorRoute
  log: Logger
  /** The orchestrator does not know this worker (any more), or the link broke down: it must register again. */
  onUnknownWorker: () => void
}

/** An orchestrator that is up answers within its statement timeout. */
const REQUEST_TIMEOUT_MS = 10_000
/** Longer than the 10 s that an orchestrator waits for Kafka before it says that it did not answer. */
const PUBLISH_TIMEOUT_MS = 15_000

/**
 * Commands over HTTP, in lanes: all that Postgres answers in one, publishes in one for each stream. A stall of Kafka so
 * holds up no step, and a stall of one stream no publish to another.
 */
export class HttpLink implements WorkerLink {
  readonly #params: HttpLinkParams
  readonly #commands: CommandLane
  /** By stream, while there is something to publish to it. */
  readonly #publishes = new Map<string, CommandLane>()
  #closed = false

  constructor(params: HttpLinkParams) {
    this.#params = params
    this.#commands = this.#lane(REQUEST_TIMEOUT_MS, () => {})
  }

  get pending(): number {
    let pending = this.#commands.pending
    for (const lane of this.#publishes.values()) pending += lane.pending
    return pending
  }

  /** No function of its own around the promise: there are five commands to a run of three steps. */
  send(command: Command): Promise<CommandReply> {
    if (this.#closed) return Promise.reject(new LinkClosedError('the link is closed'))
    const lane = command.kind === 'publish' ? this.#publishLane(streamOf(command.topic)) : this.#commands
    return lane.send(command)
  }

  #publishLane(stream: string): CommandLane {
    const open = this.#publishes.get(stream)
    if (open !== undefined) return open
    const lane = this.#lane(PUBLISH_TIMEOUT_MS, () => this.#publishes.delete(stream))
    this.#publishes.set(stream, lane)
    return lane
  }

  #lane(requestTimeoutMs: number, onIdle: () => void): CommandLane {
    const { workerId, route, log } = this.#params
    return new CommandLane({
      workerId,
      route,
      log,
      requestTimeoutMs,
      onIdle,
      onUnknownWorker: () => this.#end(),
      onFault: (error) => {
        log.error({ event: 'link.fault', error: String(error) }, 'the link broke down')
        this.#end()
      },
    })
  }

  /** A worker whose link is closed can do nothing: it must register again. */
  #end(): void {
    if (this.#closed) return
    this.#params.onUnknownWorker()
    this.close()
  }

  close(): void {
    this.#closed = true
    this.#commands.close()
    for (const lane of this.#publishes.values()) lane.close()
    this.#publishes.clear()
  }
}
