import type { z } from 'zod'

/** Best effort: what the gateway adds of the orchestrator's knowledge is left out when it takes longer. */
const ANSWER_MS_MAX = 2_000

export interface AskOrchestrator {
  /** A JSON answer, or null where there is none in time or it is not of this shape. Never throws. */
  get<Shape extends z.ZodType>(
    path: string,
    shape: Shape,
    options: { authorization: string | undefined; statuses?: readonly number[] },
  ): Promise<z.output<Shape> | null>
  /** True when it was taken. Never throws. */
  post(path: string, body: unknown, signal: AbortSignal): Promise<boolean>
}

export function createAskOrchestrator(baseUrl: string): AskOrchestrator {
  return {
    async get(path, shape, { authorization, statuses = [200] }) {
      try {
        const answer = await fetch(`${baseUrl}${path}`, {
          headers: authorization === undefined ? {} : { authorization },
          signal: AbortSignal.timeout(ANSWER_MS_MAX),
        })
        const body: unknown = await answer.json()
        const parsed = shape.safeParse(body)
        return statuses.includes(answer.status) && parsed.success ? parsed.data : null
      } catch {
        return null
      }
    },
    async post(path, body, signal) {
      try {
        const answer = await fetch(`${baseUrl}${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
        })
        await answer.body?.cancel()
        return answer.ok
      } catch {
        return false
      }
    },
  }
}
