import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { backoffMs } from '@headrace/core'
import type { FieldFault, RegisterReply, RegisterRequest } from '@headrace/schemas'
import { ApiError } from '../errors/api-error.ts'
import type { Logger } from '../run/run-host.ts'
import { sdkVersion } from '../sdk-version.ts'
import { bodyOf, type HttpExchange, isKeyRefusal, problemOf } from './http-exchange.ts'
import type { WorkerSettings } from './settings.ts'

const REQUEST_TIMEOUT_MS = 15_000
/** A restarted orchestrator is found within the longest of them: until then nothing runs here. */
/** A key that was revoked seldom comes back: each attempt is a line in the log. */
const REFUSED_KEY_AGAIN_MS = 10_000
const delays = { initialDelayMs: 200, factor: 2, maxDelayMs: 2_000, jitter: 0.5 }

/**
 * Says what this worker is and runs, and learns where its tasks and the orchestrator are. Tried until it succeeds or
 * the signal is aborted (null); what no further attempt can mend (a wrong key, a workflow of another app) is thrown. A key
 * that was taken once may be again (a Postgres that was put back to an earlier point), so it is tried on and on.
 */
export async function register(params: {
  settings: WorkerSettings
  exchange: HttpExchange
  log: Logger
  signal: AbortSignal
  /** The id under which this worker was registered before; it has dropped all that it had in hand. */
  replaces: string | null
}): Promise<RegisterReply | null> {
  const { settings, exchange, log, signal, replaces } = params
  for (let attempts = 1; !signal.aborted; attempts += 1) {
    let retryAfterMs = 0
    let isKey = false
    try {
      const url = `${settings.url}/v1/worker/register`
      const body = JSON.stringify(requestOf(settings, replaces))
      const answer = await exchange.post(url, body, { timeoutMs: REQUEST_TIMEOUT_MS, signal })
      if (answer.status === 200) return replyOf(answer.text, log)
      const problem = problemOf(answer)
      const isRefused = answer.status >= 400 && answer.status < 500 && answer.status !== 429
      isKey = problem !== null && isKeyRefusal(answer.status)
      if (problem !== null && isRefused && (!isKey || replaces === null))
        throw new ApiError({
          message: `the registration was refused: ${problem.detail}`,
          status: answer.status,
          code: problem.code,
          retryable: false,
          errors: faultsOf(answer.text),
        })
      retryAfterMs = isKey ? REFUSED_KEY_AGAIN_MS : (answer.retryAfterMs ?? 0)
      const why = problem === null ? '' : ` ${problem.code}: ${problem.detail}`
      throw new Error(`${settings.url} answered ${answer.status}${why}`)
    } catch (error) {
      if (signal.aborted) return null
      if (error instanceof ApiError) throw error
      const waitMs = Math.max(backoffMs(delays, attempts, Math.random()), retryAfterMs)
      const fields = { error: String(error), url: settings.url, retry_in_ms: waitMs }
      if (isKey)
        log.warn(
          { event: 'worker.key_refused', ...fields },
          'the API key is not taken any more: others have the runs of this worker; trying again',
        )
      else log.warn({ event: 'worker.register_failed', ...fields }, 'could not register; trying again')
      await delay(waitMs, null, { signal }).catch(() => {})
    }
  }
  return null
}

function faultsOf(text: string): FieldFault[] {
  const { errors } = bodyOf({ text }) ?? {}
  return Array.isArray(errors) ? (errors as FieldFault[]) : []
}

function replyOf(text: string, log: Logger): RegisterReply {
  const reply = JSON.parse(text) as RegisterReply
  for (const { name, code, detail } of reply.warnings ?? [])
    log.warn({ event: 'worker.event_type_differs', event_type: name, code }, detail)
  return reply
}

/** A new id each time: an id that was declared dead is dead for good. */
function requestOf(settings: WorkerSettings, replaces: string | null): RegisterRequest {
  return {
    worker_id: randomUUID(),
    app: settings.app,
    build: settings.build,
    queue: settings.queue,
    host: hostname().slice(0, 255),
    sdk: `typescript/${sdkVersion}`,
    concurrency: settings.concurrency,
    workflows: [...settings.workflows.values()].map((workflow) => workflow.definition),
    ...(settings.eventTypes.bodies.length === 0 ? {} : { event_types: [...settings.eventTypes.bodies] }),
    ...(replaces === null ? {} : { replaces }),
  }
}
