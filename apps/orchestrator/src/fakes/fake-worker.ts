import { randomUUID } from 'node:crypto'
import type {
  ClaimedRun,
  Command,
  CommandReply,
  CommandsReply,
  HeartbeatReply,
  HeartbeatRequest,
  Problem,
  PublishCommand,
  RegisterReply,
  WaitCommand,
  WorkflowDefinition,
} from '@headrace/schemas'

export interface Answer<Body> {
  status: number
  headers: Headers
  body: Body
}

/** One request, its answer parsed as JSON. */
export async function request<Body = unknown>(
  url: string,
  {
    method = 'GET',
    body,
    headers = {},
  }: { method?: string; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer<Body>> {
  const response = await fetch(url, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: (text === '' ? null : JSON.parse(text)) as Body,
  }
}

export const workflowOf = (id: string, pattern?: string, queue = 'default'): WorkflowDefinition => ({
  id,
  queue,
  on_deploy: 'upgrade',
  triggers:
    pattern === undefined
      ? []
      : [{ id, pattern, window: { size: 1, timeout_ms: null, max_bytes: 1_048_576 } }],
})

export interface FakeWorkerOptions {
  url: string
  workflows: WorkflowDefinition[]
  app?: string
  build?: string
  queue?: string
  /** Its id before it lost its orchestrator. */
  replaces?: string
}

/** The SDK's side of the worker protocol, without Kafka: says what a test tells it to. */
export class FakeWorker {
  readonly id = `worker-${randomUUID()}`
  readonly #options: FakeWorkerOptions

  constructor(options: FakeWorkerOptions) {
    this.#options = options
  }

  async post<Body>(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer<Body>> {
    return await request<Body>(`${this.#options.url}/v1/worker/${path}`, {
      method: 'POST',
      body,
      headers: { 'headrace-protocol': '1', ...headers },
    })
  }

  registration(): Record<string, unknown> {
    const { app = 'shop', build = 'b1', queue = 'default', workflows, replaces } = this.#options
    const process = { app, build, queue, host: 'test', sdk: 'test', concurrency: 10 }
    return { worker_id: this.id, ...process, workflows, ...(replaces === undefined ? {} : { replaces }) }
  }

  async register(): Promise<Answer<RegisterReply & Problem>> {
    return await this.post('register', this.registration())
  }

  async beat(beat: Partial<HeartbeatRequest> = {}): Promise<HeartbeatReply> {
    const whole = {
      worker_id: this.id,
      status: 'live',
      partitions: [],
      runs: [],
      stealing: false,
      stalled_ms: 0,
      ...beat,
    }
    return (await this.post<HeartbeatReply>('heartbeat', whole)).body
  }

  async send(commands: Command[]): Promise<Answer<CommandsReply & Problem>> {
    return await this.post('commands', { worker_id: this.id, commands })
  }

  /** The replies; throws the problem where there are none. */
  async do(...commands: Command[]): Promise<CommandReply[]> {
    const { status, body } = await this.send(commands)
    if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`)
    return body.replies
  }

  async claim(runId: string, epoch = 1): Promise<ClaimedRun> {
    const [reply] = await this.do({ kind: 'claim', run_id: runId, epoch, want_input: true })
    if (reply?.kind !== 'claimed') throw new Error(`not claimed: ${JSON.stringify(reply)}`)
    return reply.run
  }
}

export const stepCommand = (
  run_id: string,
  key: string,
  { epoch = 1, n = 0, output = '"ok"' }: { epoch?: number; n?: number; output?: string } = {},
): Command => ({
  kind: 'step',
  run_id,
  epoch,
  key,
  step_kind: 'run',
  n,
  seen: 0,
  output,
  error: null,
  attempts: 1,
  started_at: Date.now(),
  finished_at: Date.now(),
})

type EventWait = Extract<WaitCommand['wait'], { kind: 'event' }>
type Due = Extract<WaitCommand['wait'], { kind: 'time' }>['due']

/** A wait for an event, an hour long unless said. */
export const waitCommand = (
  run_id: string,
  key: string,
  topic: string,
  { epoch = 1, seen = 0, ...wait }: { epoch?: number; seen?: number } & Partial<EventWait> = {},
): Command => ({
  kind: 'wait',
  run_id,
  epoch,
  key,
  seen,
  wait: { kind: 'event', topic, filter: null, since: 'run', timeout_ms: 3_600_000, ...wait },
})

export const sleepCommand = (
  run_id: string,
  key: string,
  due: Due,
  { epoch = 1, seen = 0 }: { epoch?: number; seen?: number } = {},
): Command => ({ kind: 'wait', run_id, epoch, key, seen, wait: { kind: 'time', due } })

/** A wait for the end of a child run, an hour long. */
export const childCommand = (
  run_id: string,
  key: string,
  workflow: string,
  { epoch = 1, seen = 0, input = 'null' }: { epoch?: number; seen?: number; input?: string } = {},
): Command => ({
  kind: 'wait',
  run_id,
  epoch,
  key,
  seen,
  wait: { kind: 'run', workflow, input, timeout_ms: 3_600_000 },
})

export const invokeCommand = (run_id: string, key: string, workflow: string): Command => ({
  kind: 'invoke',
  run_id,
  epoch: 1,
  key,
  workflow,
  input: '{"by":"invoke"}',
})

/** A wait for somebody, an hour long. */
export const askCommand = (run_id: string, key: string): Command => ({
  kind: 'wait',
  run_id,
  epoch: 1,
  key,
  seen: 0,
  wait: { kind: 'resume', timeout_ms: 3_600_000 },
})

export const suspendCommand = (run_id: string, { epoch = 1, seen = 0 } = {}): Command => ({
  kind: 'suspend',
  run_id,
  epoch,
  seen,
})

export const lookCommand = (run_id: string, { epoch = 1, seen = 0 } = {}): Command => ({
  kind: 'look',
  run_id,
  epoch,
  seen,
})

export const publishCommand = (
  run_id: string,
  key: string,
  topic: string,
  more: Partial<PublishCommand> = {},
): PublishCommand => ({
  kind: 'publish',
  run_id,
  epoch: 1,
  key,
  topic,
  event_type: null,
  data: '{}',
  event_key: null,
  ...more,
})
