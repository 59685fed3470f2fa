import type { Problem } from '@headrace/schemas'
import { ApiError } from '../errors/api-error.ts'
import type { ClientSettings } from './client-options.ts'

export interface ApiRequest {
  method: 'GET' | 'POST'
  /** With its query. */
  path: string
  body?: unknown
  timeoutMs: number
  signal: AbortSignal | null
  /** Of one attempt; a hung connection must not eat the whole call. */
  attemptMs?: number
}

export interface ApiAnswer {
  status: number
  body: unknown
  requestId: string | null
}

/** A gateway answers within 5 s even when Kafka is away. */
const ATTEMPT_MS = 10_000
const DELAY_MS_MIN = 200
const DELAY_MS_MAX = 5_000

/**
 * One call, tried again until its timeout while its error says that this may help. Every call made here may be repeated:
 * publishes and starts carry ids, and what steers a run changes nothing the second time.
 *
 * Throws ApiError, or the signal's reason.
 */
export async function callApi(settings: ClientSettings, request: ApiRequest): Promise<ApiAnswer> {
  const deadline = performance.now() + request.timeoutMs
  for (let attempts = 1; ; attempts += 1) {
    const error = await attempt(settings, request, deadline)
    if (!(error instanceof ApiError)) return error
    const delayMs = retryDelayMs(attempts, error)
    if (!error.retryable || performance.now() + delayMs >= deadline) throw error
    await pause(delayMs, request.signal)
  }
}

/** What the API asks for, else twice as long each time, half of it random. */
export function retryDelayMs(attempts: number, error: ApiError | null): number {
  const backoffMs = Math.min(DELAY_MS_MIN * 2 ** (attempts - 1), DELAY_MS_MAX)
  return Math.max(error?.retryAfterMs ?? 0, backoffMs * (1 - Math.random() / 2))
}

async function attempt(
  settings: ClientSettings,
  request: ApiRequest,
  deadline: number,
): Promise<ApiAnswer | ApiError> {
  request.signal?.throwIfAborted()
  const leftMs = Math.max(1, Math.ceil(deadline - performance.now()))
  const timeout = AbortSignal.timeout(Math.min(leftMs, request.attemptMs ?? ATTEMPT_MS))
  try {
    const response = await settings.fetch(settings.url + request.path, {
      method: request.method,
      headers: headersOf(settings, request),
      signal: request.signal === null ? timeout : AbortSignal.any([request.signal, timeout]),
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
    })
    const text = await response.text()
    return readAnswer(response, text)
  } catch (error) {
    request.signal?.throwIfAborted()
    const code = timeout.aborted ? 'timeout' : 'unreachable'
    return new ApiError({
      message:
        code === 'timeout' ? `${settings.url} did not answer in time` : `${settings.url} cannot be reached`,
      status: 0,
      code,
      retryable: true,
      cause: error,
    })
  }
}

function headersOf(settings: ClientSettings, request: ApiRequest): Record<string, string> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (request.body !== undefined) headers['content-type'] = 'application/json'
  if (settings.apiKey !== null) headers['authorization'] = `Bearer ${settings.apiKey}`
  return headers
}

function readAnswer(response: Response, text: string): ApiAnswer | ApiError {
  const requestId = response.headers.get('x-request-id')
  const body = parse(text)
  // A publish of which nothing was written answers 503 with an entry each: the caller of this reads them.
  const isList = typeof body === 'object' && body !== null && 'events' in body
  if (response.ok && body !== undefined) return { status: response.status, body, requestId }
  if (response.status === 503 && isList) return { status: 503, body, requestId }
  return problemAnswer(body, response)
}

/** An answer that is no success, as the error it is: by its problem, else by its status. */
export function problemAnswer(body: unknown, response: Response | null = null): ApiError {
  const problem = isProblem(body) ? body : null
  const status = response?.status ?? problem?.status ?? 0
  return new ApiError({
    message: problem?.detail ?? `the API answered ${status}`,
    status,
    code: problem?.code ?? 'unexpected_answer',
    retryable: problem?.retryable ?? (status === 429 || status >= 500),
    requestId: problem?.request_id ?? response?.headers.get('x-request-id') ?? null,
    retryAfterMs: response === null ? null : retryAfterMsOf(response),
    ...(problem?.errors === undefined ? {} : { errors: problem.errors }),
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isProblem = (body: unknown): body is Problem =>
  typeof body === 'object' && body !== null && 'code' in body && 'status' in body && 'detail' in body

function retryAfterMsOf(response: Response): number | null {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : null
}

/** Rejects with the signal's reason when it is aborted meanwhile. */
export async function pause(ms: number, signal: AbortSignal | null): Promise<void> {
  signal?.throwIfAborted()
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  const wake = (): void => resolve()
  signal?.addEventListener('abort', wake, { once: true })
  await promise
  clearTimeout(timer)
  signal?.removeEventListener('abort', wake)
  signal?.throwIfAborted()
}
