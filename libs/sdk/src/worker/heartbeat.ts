import { Worker as Thread } from 'node:worker_threads'
import type { HeartbeatReply } from '@headrace/schemas'
import type { Logger } from '../run/run-host.ts'
import type { HeartbeatChange, HeartbeatData, HeartbeatNews } from './heartbeat-thread.ts'
import { bodyOf, isKeyRefusal, problemOf } from './http-exchange.ts'

export interface HeartbeatParams {
  data: Omit<HeartbeatData, 'turned'>
  log: Logger
  /** An orchestrator that knows this worker, or whose Postgres is away so that it cannot tell. */
  onAnswer: () => void
  /** The API key is not taken (any more): nothing was counted as a heartbeat. */
  onRefused: () => void
  /** There will be no further heartbeat: the thread is gone. */
  onDeath: () => void
  onLost: (lost: HeartbeatReply['lost']) => void
  onUnknownWorker: () => void
}

/** The main loop's side of the heartbeat: what it says is sent by a thread that goes on while this loop is blocked. */
export class Heartbeat {
  readonly #thread: Thread
  readonly #turned = new BigInt64Array(new SharedArrayBuffer(8))
  readonly #params: HeartbeatParams
  #change: HeartbeatChange = { partitions: [], status: 'live' }
  #stopped = false
  /** Said once an outage. */
  #isSilent = false

  constructor(params: HeartbeatParams) {
    this.#params = params
    this.turn()
    // Type stripping runs the source as it is; compiled, the neighbour is JavaScript.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#thread = new Thread(new URL(`./heartbeat-thread.${extension}`, import.meta.url), {
      workerData: { ...params.data, turned: this.#turned.buffer } satisfies HeartbeatData,
      name: 'headrace-heartbeat',
    })
    this.#thread.on('message', (news: HeartbeatNews) => this.#hear(news))
    this.#thread.on('error', (error) => {
      params.log.error({ event: 'heartbeat.fault', error: String(error) }, 'the heartbeat thread died')
    })
    this.#thread.on('exit', () => {
      if (!this.#stopped) params.onDeath()
    })
    this.#thread.unref()
  }

  /** Said from the main loop at least twice a second; silence is a stall. */
  turn(): void {
    Atomics.store(this.#turned, 0, process.hrtime.bigint())
  }

  /** Sent at once: tasks are dispatched by what the last heartbeat said. */
  say(change: Partial<HeartbeatChange>): void {
    this.#change = { ...this.#change, ...change }
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window: it has no origin
    this.#thread.postMessage(this.#change)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#thread.terminate()
  }

  #hear(news: HeartbeatNews): void {
    if (this.#stopped) return
    const { log, onAnswer, onRefused, onLost, onUnknownWorker } = this.#params
    switch (news.kind) {
      case 'no_answer':
        log[this.#isSilent ? 'debug' : 'warn'](
          { event: 'heartbeat.no_answer', error: news.error },
          'no orchestrator answered the heartbeat; trying again',
        )
        this.#isSilent = true
        return
      case 'detour':
        log.warn(
          { event: 'link.through_gateway', error: news.error },
          'the orchestrator cannot be reached at its own address; the gateway carries the traffic',
        )
        return
      case 'answer':
        break
    }
    if (this.#isSilent) log.info({ event: 'heartbeat.answered' }, 'an orchestrator answers again')
    this.#isSilent = false
    const reply = news.status === 200 ? (bodyOf(news) as HeartbeatReply | null) : null
    if (!Array.isArray(reply?.lost)) {
      const problem = problemOf(news)
      // Any other refusal (a revoked key, a body it does not understand), or a proxy's page, was not counted as a
      // heartbeat either.
      if (news.status >= 500 || news.status === 429) onAnswer()
      if (problem !== null && isKeyRefusal(news.status)) onRefused()
      if (problem?.code === 'unknown_worker') onUnknownWorker()
      else
        log.warn(
          { event: 'heartbeat.refused', status: news.status, ...problem },
          'the heartbeat was not taken',
        )
      return
    }
    onAnswer()
    if (reply.status === 'unknown_worker') onUnknownWorker()
    else if (reply.lost.length > 0) onLost(reply.lost)
  }
}
