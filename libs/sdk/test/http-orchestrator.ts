import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type {
  CommandsRequest,
  HeartbeatReply,
  HeartbeatRequest,
  RegisterReply,
  RegisterRequest,
} from '@headrace/schemas'
import { MemoryOrchestrator } from './memory-orchestrator.ts'

/** The worker protocol over real HTTP, over the orchestrator in memory. */
export class HttpOrchestrator {
  readonly orchestrator = new MemoryOrchestrator()
  readonly registered: RegisterRequest[] = []
  readonly heartbeats: HeartbeatRequest[] = []
  readonly requests: { path: string; headers: IncomingMessage['headers'] }[] = []
  /** Registrations that were declared dead. */
  readonly dead = new Set<string>()
  readonly #server: Server
  readonly #reply: Omit<RegisterReply, 'worker_id' | 'orchestrator_url'>
  /**
   * `away`: no answer at all. `postgres_away`: an answer, but no help. `deaf`: no answer to heartbeats. `kafka_away`: what
   * holds a publish is not answered with success.
   */
  mode: 'up' | 'away' | 'postgres_away' | 'deaf' | 'kafka_away' = 'up'
  /** Given to workers as the orchestrator's address; its own when null. */
  advertised: string | null = null

  private constructor(server: Server, reply: Omit<RegisterReply, 'worker_id' | 'orchestrator_url'>) {
    this.#server = server
    this.#reply = reply
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch(() => response.destroy())
    })
  }

  static async start(
    reply: Partial<RegisterReply> & Pick<RegisterReply, 'kafka_brokers' | 'task_topic' | 'group_id'>,
  ): Promise<HttpOrchestrator> {
    const server = createServer()
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    return new HttpOrchestrator(server, { heartbeat_ms: 200, lease_ms: 2_000, ...reply })
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    await new Promise((resolve) => {
      this.#server.close(resolve)
      this.#server.closeAllConnections()
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isDeaf = this.mode === 'deaf' && request.url === '/v1/worker/heartbeat'
    if (this.mode === 'away' || isDeaf) return void request.socket.destroy()
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    this.requests.push({ path: request.url ?? '', headers: request.headers })
    if (this.mode === 'postgres_away')
      return send(response, 503, { code: 'postgres_unavailable', detail: '' })
    if (request.url === '/v1/worker/register')
      return send(response, 200, this.#register(body as RegisterRequest))
    const { worker_id: workerId } = body as { worker_id: string }
    if (this.dead.has(workerId) || !this.registered.some((one) => one.worker_id === workerId))
      return send(response, 409, { code: 'unknown_worker', detail: '' })
    if (request.url === '/v1/worker/heartbeat') {
      this.heartbeats.push(body as HeartbeatRequest)
      const { runs } = body as HeartbeatRequest
      const lost = runs.filter((run) => this.orchestrator.runs.get(run.run_id)?.epoch !== run.epoch)
      return send(response, 200, { status: 'ok', lost } satisfies HeartbeatReply)
    }
    const { commands } = body as CommandsRequest
    if (this.mode === 'kafka_away' && commands.some((command) => command.kind === 'publish'))
      return send(response, 503, { code: 'kafka_unavailable', detail: '' })
    send(response, 200, { replies: this.orchestrator.apply(workerId, commands) })
  }

  #register(request: RegisterRequest): RegisterReply {
    this.registered.push(request)
    return { ...this.#reply, worker_id: request.worker_id, orchestrator_url: this.advertised ?? this.url }
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}
