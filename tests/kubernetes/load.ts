import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '@headrace/testing'
import type { Witness } from './witness.ts'

/** Each sends an event, waits for the answer, and then for the rest of its interval. */
const PUBLISHERS = 4
const INTERVAL_MS = 200
/** A request that got no answer by then has failed. */
const REQUEST_DEADLINE_MS = 10_000
const RETRY_MS = 200
/** For the runs of the last events: workers that were killed are noticed after 8 s. */
const SETTLE_DEADLINE_MS = 300_000

export interface LoadOptions {
  gateway: string
  apiKey: string
  witness: Witness
}

/** What came of a load. */
export interface LoadFigures {
  seconds: number
  accepted: number
  failedRequests: number
  /** Why they failed, and when in the load. */
  reasons: string[]
  /** Events that were accepted and whose last step was not seen. */
  lost: number
  /** Events that started more than one run. */
  doubled: number
  stepsRunAgain: number
  /** The most bodies that ran at once meanwhile. */
  stepsInFlight: number
}

/**
 * Publishes for as long as `during` takes, then waits for the runs. Each publisher keeps its connection until an answer ends it,
 * and sends what failed again with the same `Idempotency-Key`.
 */
export async function underLoad(options: LoadOptions, during: () => Promise<void>): Promise<LoadFigures> {
  const { witness } = options
  const begunMs = performance.now()
  const stop = new AbortController()
  const reasons: string[] = []
  const failed = (reason: string): void => {
    reasons.push(`${reason} after ${Math.round(performance.now() - begunMs)} ms`)
  }
  witness.takeInFlightMax()
  const publishing = Array.from({ length: PUBLISHERS }, async (_, number) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const accepted: string[] = []
    while (!stop.signal.aborted) {
      const pause = delay(INTERVAL_MS)
      accepted.push(await publish({ ...options, agent, topic: `load/${number}`, failed }))
      await pause
    }
    agent.destroy()
    return accepted
  })
  try {
    await during()
  } finally {
    stop.abort()
  }
  const seconds = Math.round((performance.now() - begunMs) / 1_000)
  const accepted = (await Promise.all(publishing)).flat()
  const missing = (): string[] => accepted.filter((id) => witness.events.get(id)?.ended !== true)
  await eventually('every event has come to its last step', () => missing().length === 0, {
    deadlineMs: SETTLE_DEADLINE_MS,
  }).catch(() => null)
  const seen = accepted.flatMap((id) => witness.events.get(id) ?? [])
  const bodies = seen.flatMap((event) => [...event.bodies.values()])
  return {
    seconds,
    accepted: accepted.length,
    failedRequests: reasons.length,
    reasons,
    lost: missing().length,
    doubled: seen.filter(({ runs }) => runs.size > 1).length,
    stepsRunAgain: bodies.reduce((sum, count) => sum + count - 1, 0),
    stepsInFlight: witness.takeInFlightMax(),
  }
}

/** A trigger that is new begins at the end of its stream, a moment after its worker was registered: until one has begun. */
export async function untilRunsStart(options: LoadOptions): Promise<void> {
  await eventually(
    'an event has started a run',
    async () => {
      const agent = new Agent()
      const id = await publish({ ...options, agent, topic: 'load/0', failed: () => undefined })
      await delay(RETRY_MS)
      return options.witness.events.has(id)
    },
    { deadlineMs: SETTLE_DEADLINE_MS },
  )
}

interface PublishOptions extends LoadOptions {
  agent: Agent
  topic: string
  failed: (reason: string) => void
}

/** How the event calls itself, once it was accepted. */
async function publish(options: PublishOptions): Promise<string> {
  const id = randomUUID()
  const body = JSON.stringify({ topic: options.topic, data: { witness: options.witness.url, id } })
  for (;;) {
    const failure = await post(options, id, body)
    if (failure === null) return id
    options.failed(failure)
    await delay(RETRY_MS)
  }
}

/** Why it failed; null when the event was accepted. */
async function post(
  { gateway, apiKey, agent }: PublishOptions,
  id: string,
  body: string,
): Promise<string | null> {
  const asked = request(`${gateway}/v1/events`, {
    method: 'POST',
    agent,
    headers: {
      authorization: `Bearer ${apiKey}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'idempotency-key': id,
    },
    signal: AbortSignal.timeout(REQUEST_DEADLINE_MS),
  })
  try {
    asked.end(body)
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    const said = await text(answer)
    return answer.statusCode === 200 ? null : `${answer.statusCode} ${said}`
  } catch (error) {
    const connection = asked.reusedSocket ? 'a connection used before' : 'a new connection'
    return `${String(error)} on ${connection}`
  }
}
