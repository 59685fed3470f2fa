// Runs in a thread of its own, from source and from dist: it imports nothing but Node and its neighbours.
import { parentPort, workerData } from 'node:worker_threads'
import { HttpExchange } from './http-exchange.ts'
import { readInHand } from './in-hand-table.ts'
import { OrchestratorRoute, type RouteAddresses } from './orchestrator-route.ts'

/** What the main loop gives the thread at its start. */
export interface HeartbeatData extends RouteAddresses {
  workerId: string
  headers: Record<string, string>
  heartbeatMs: number
  inHand: SharedArrayBuffer
  /** One BigInt64: when the main loop last turned, in ns of `process.hrtime`, which threads share. */
  turned: SharedArrayBuffer
}

/** Each beat at once: what the worker owns changed, or it is leaving. */
export interface HeartbeatChange {
  partitions: number[]
  status: 'live' | 'draining'
}

/** `reply` is the orchestrator's text, as it came. */
export type HeartbeatNews =
  | { kind: 'answer'; status: number; text: string }
  | { kind: 'no_answer'; error: string }
  | { kind: 'detour'; error: string }

/** A main loop that has not turned for a minute is dead: without heartbeats others get its runs. */
const STALLED_MS_MAX = 60_000
/** What was not answered is said again after this share of the interval: of what is left to the lease no second is waste. */
const AGAIN_SHARE = 0.25
/** The loop says that it turns twice a second; a pause of garbage collection is not a stall. */
const STALLED_MS_MIN = 1_500

const port = parentPort
if (port !== null) beat(workerData as HeartbeatData, (news) => port.postMessage(news), port)

function beat(
  data: HeartbeatData,
  tell: (news: HeartbeatNews) => void,
  port: NonNullable<typeof parentPort>,
): void {
  const turned = new BigInt64Array(data.turned)
  const exchange = new HttpExchange(data.headers)
  const route = new OrchestratorRoute({
    exchange,
    addresses: data,
    now: () => performance.now(),
    onDetour: (error) => tell({ kind: 'detour', error: String(error) }),
  })
  let change: HeartbeatChange = { partitions: [], status: 'live' }
  let busy = false
  let again = false
  let soon: NodeJS.Timeout | undefined

  /** False: nobody took it. */
  async function once(): Promise<boolean> {
    const stalledMs = Number((process.hrtime.bigint() - Atomics.load(turned, 0)) / 1_000_000n)
    if (stalledMs > STALLED_MS_MAX) return true
    const body = JSON.stringify({
      worker_id: data.workerId,
      ...change,
      ...readInHand(data.inHand),
      stalled_ms: stalledMs < STALLED_MS_MIN ? 0 : stalledMs,
    })
    try {
      const answer = await route.post('/v1/worker/heartbeat', body, {
        timeoutMs: data.heartbeatMs * 2,
        signal: new AbortController().signal,
      })
      tell({ kind: 'answer', status: answer.status, text: answer.text })
      return answer.status < 500
    } catch (error) {
      tell({ kind: 'no_answer', error: String(error) })
      return false
    }
  }

  function poke(): void {
    again = true
    if (busy) return
    busy = true
    const turn = async (): Promise<void> => {
      while (again) {
        again = false
        const taken = await once()
        clearTimeout(soon)
        if (!taken) soon = setTimeout(poke, data.heartbeatMs * AGAIN_SHARE)
      }
    }
    turn()
      .catch((error: unknown) => tell({ kind: 'no_answer', error: String(error) }))
      .finally(() => {
        busy = false
      })
  }

  port.on('message', (message: HeartbeatChange) => {
    change = message
    poke()
  })
  setInterval(poke, data.heartbeatMs)
  poke()
}
