// Also loaded by the heartbeat's thread from source and from dist: it imports nothing but Node and its neighbours.
import { type HttpAnswer, type HttpExchange, problemOf } from './http-exchange.ts'

export interface RouteAddresses {
  /** The orchestrator's own address, as registration gave it. */
  orchestratorUrl: string
  /** Carries the traffic while that one cannot be reached. */
  gatewayUrl: string
}

/** So long the gateway carries the traffic before the direct way is tried again. */
const DETOUR_MS = 30_000

/** A way to the orchestrator: directly, else through the gateway. */
export class OrchestratorRoute {
  readonly #exchange: HttpExchange
  readonly #addresses: RouteAddresses
  readonly #now: () => number
  readonly #onDetour: (cause: unknown) => void
  #detourUntil: number | null = null

  constructor(params: {
    exchange: HttpExchange
    addresses: RouteAddresses
    now: () => number
    /** The gateway carries the traffic from now on. */
    onDetour: (cause: unknown) => void
  }) {
    this.#exchange = params.exchange
    this.#addresses = params.addresses
    this.#now = params.now
    this.#onDetour = params.onDetour
  }

  /** What an orchestrator answered, also an error. Rejects when none was reached. */
  async post(
    path: string,
    body: string,
    params: { timeoutMs: number; signal: AbortSignal },
  ): Promise<HttpAnswer> {
    const { orchestratorUrl, gatewayUrl } = this.#addresses
    if (this.#detourUntil !== null && this.#now() < this.#detourUntil)
      return orchestratorsAnswer(await this.#exchange.post(gatewayUrl + path, body, params))
    try {
      const answer = await this.#exchange.post(orchestratorUrl + path, body, params)
      this.#detourUntil = null
      return answer
    } catch (error) {
      if (params.signal.aborted || gatewayUrl === orchestratorUrl) throw error
      // Sent a second time: every command, and a heartbeat, may be repeated.
      const answer = orchestratorsAnswer(await this.#exchange.post(gatewayUrl + path, body, params))
      if (this.#detourUntil === null) this.#onDetour(error)
      this.#detourUntil = this.#now() + DETOUR_MS
      return answer
    }
  }
}

/** A gateway (or a proxy before it) that has no orchestrator to ask says nothing about our runs. */
function orchestratorsAnswer(answer: HttpAnswer): HttpAnswer {
  const problem = answer.status >= 400 ? problemOf(answer) : null
  if (problem?.code === 'orchestrator_unavailable' || (answer.status >= 500 && problem === null))
    throw new Error(`the gateway reached no orchestrator (${answer.status})`)
  return answer
}
