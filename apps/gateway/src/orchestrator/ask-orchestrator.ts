import { type ProblemCode, ProblemError, problems } from '@headrace/schemas'
import { z } from 'zod'

/** Best effort: what the gateway adds of the orchestrator's knowledge is left out when it takes longer. */
const ANSWER_MS_MAX = 2_000
/** A change may have to wait for Kafka. */
const CHANGE_MS_MAX = 14_000

export interface AskOrchestrator {
  /** A JSON answer, or null where there is none in time or it is not of this shape. Never throws. */
  get<Shape extends z.ZodType>(
    path: string,
    shape: Shape,
    options: { authorization: string | undefined; statuses?: readonly number[] },
  ): Promise<z.output<Shape> | null>
  /**
   * Has something changed there, with the caller's key. Throws the problem that it is refused with, as it came, and
   * `orchestrator_unavailable`.
   */
  change<Shape extends z.ZodType>(
    method: 'PUT' | 'DELETE',
    path: string,
    shape: Shape,
    options: { body: unknown; authorization: string | undefined },
  ): Promise<{ status: number; body: z.output<Shape> }>
  /** True when it was taken. Never throws. */
  post(path: string, body: unknown, signal: AbortSignal): Promise<boolean>
}

/** `apiKey`: this instance's own, for what it says of itself. Whatever a caller asks for goes with the caller's. */
export function createAskOrchestrator(baseUrl: string, apiKey: string | null): AskOrchestrator {
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
    async change(method, path, shape, { body, authorization }) {
      const answer = await fetch(`${baseUrl}${path}`, {
        method,
        headers: {
          ...(authorization === undefined ? {} : { authorization }),
          ...(body === null ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === null ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(CHANGE_MS_MAX),
      }).catch(unavailable)
      const told: unknown = await answer.json().catch(unavailable)
      const parsed = shape.safeParse(told)
      if (answer.ok && parsed.success) return { status: answer.status, body: parsed.data }
      throw problemIn(told)
    },
    async post(path, body, signal) {
      try {
        const answer = await fetch(`${baseUrl}${path}`, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }),
          },
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

const unavailable = (cause: unknown): never => {
  throw new ProblemError(
    'orchestrator_unavailable',
    'The orchestrator, which decides this, did not answer; whether it was done is not known: ask again',
    { cause },
  )
}

const isCode = (code: string): code is ProblemCode => code in problems

const problemShape = z.object({
  code: z.string().refine(isCode),
  detail: z.string(),
  errors: z
    .array(z.object({ pointer: z.string(), code: z.string().refine(isCode), detail: z.string() }))
    .optional(),
})

function problemIn(body: unknown): ProblemError {
  const parsed = problemShape.safeParse(body)
  if (!parsed.success) return unavailable(new Error('an answer of another shape'))
  const { code, detail, errors } = parsed.data
  return new ProblemError(code, detail, errors === undefined ? {} : { errors })
}
