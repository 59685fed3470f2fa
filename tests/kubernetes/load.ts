import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '@headrace/testing'

/** A request that got no answer by then has failed. */
const REQUEST_DEADLINE_MS = 10_000
const RETRY_MS = 200
/** After the last event: workers that were killed are noticed after 8 s. */
const SETTLE_DEADLINE_MS = 300_000
const TOPICS = 8

/** What came of a load. Events are counted by what the bodies of their steps said themselves. */
export interface LoadFigures {
  accepted: number
  failedRequests: number
  /** Why they failed, each reason once. */
  reasons: string[]
  /** Events that were accepted and whose run did not come to its last step. */
  lost: number
  /** Bodies that ran once more than once. */
  stepsRunAgain: number
  seconds: number
}

/** Where the bodies of `worker.js` say that they run. */
export interface Witness {
  url: string
  /** How often each body of each event ran, by `<event> <step>`. */
  bodies: Map<string, number>
}

export async function startWitness(host: string): Promise<Witness> {
  const bodies = new Map<string, number>()
  const server = createServer((request, response) => {
    const body = decodeURIComponent((request.url ?? '').slice(1))
    bodies.set(body, (bodies.get(body) ?? 0) + 1)
    response.end()
  })
  server.listen(0, host)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the witness has no port')
  return { url: `http://${host}:${address.port}`, bodies }
}

export interface LoadOptions {
  gateway: string
  witness: Witness
  eventsPerSecond: number
}

/**
 * Publishes events, one a request, for as long as `during` takes; then waits for their runs. A request that fails is
 * counted, and its event is sent again under its id, as a client would.
 */
export async function underLoad(options: LoadOptions, during: () => Promise<void>): Promise<LoadFigures> {
  const { witness, eventsPerSecond } = options
  const begunMs = performance.now()
  const failures: string[] = []
  const sending: Promise<string>[] = []
  const stop = new AbortController()
  const loop = (async () => {
    while (!stop.signal.aborted) {
      sending.push(publish(options, sending.length, failures))
      const dueMs = begunMs + (sending.length * 1_000) / eventsPerSecond
      await delay(Math.max(0, dueMs - performance.now()), null, { signal: stop.signal }).catch(() => null)
    }
  })()
  try {
    await during()
  } finally {
    stop.abort()
    await loop
  }
  const seconds = Math.round((performance.now() - begunMs) / 1_000)
  const accepted = await Promise.all(sending)
  const missing = (): string[] => accepted.filter((id) => !witness.bodies.has(`${id} last`))
  await eventually('every event has come to its last step', () => missing().length === 0, {
    deadlineMs: SETTLE_DEADLINE_MS,
  }).catch(() => null)
  const counts = accepted.flatMap((id) =>
    ['first', 'last'].map((step) => witness.bodies.get(`${id} ${step}`) ?? 0),
  )
  return {
    accepted: accepted.length,
    failedRequests: failures.length,
    reasons: [...new Set(failures)],
    lost: missing().length,
    stepsRunAgain: counts.reduce((sum, count) => sum + Math.max(0, count - 1), 0),
    seconds,
  }
}

/** The event's id, once it was accepted. */
async function publish(options: LoadOptions, number: number, failures: string[]): Promise<string> {
  const id = randomUUID()
  const body = JSON.stringify({
    id,
    topic: `load/${number % TOPICS}`,
    data: { witness: options.witness.url, id },
  })
  for (;;) {
    const failure = await post(`${options.gateway}/v1/events`, body)
    if (failure === null) return id
    failures.push(failure)
    await delay(RETRY_MS)
  }
}

async function post(url: string, body: string): Promise<string | null> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: AbortSignal.timeout(REQUEST_DEADLINE_MS),
    })
    const text = await response.text()
    return response.status === 200 ? null : `${response.status} ${text}`
  } catch (error) {
    return error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
  }
}
