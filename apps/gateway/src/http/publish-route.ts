import type { StreamDirectory } from '@headrace/broker'
import { checkpoint } from '@headrace/core'
import { flagParameter, parseQuery, requireScope, sendProblem } from '@headrace/http'
import { type FieldFault, ProblemError } from '@headrace/schemas'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { GatewayMetrics } from '../gateway-metrics.ts'
import type { Admission, AdmissionTicket } from '../ingest/admission.ts'
import { checkData, type DataRules } from '../ingest/check-data.ts'
import { type EventFormat, eventFormat, parseBody } from '../ingest/event-format.ts'
import { parseIdempotencyKey } from '../ingest/idempotency.ts'
import { type PreparedEvent, prepareEvents } from '../ingest/prepare-events.ts'
import { rateHeaders, type RateLimit } from '../ingest/rate-limit.ts'
import { readBody } from '../ingest/read-body.ts'
import { requireWritable } from '../ingest/writable-topics.ts'
import { withinDeadline } from '../kafka-deadline.ts'
import type { AskOrchestrator } from '../orchestrator/ask-orchestrator.ts'
import { ensureStreams } from '../produce/ensure-streams.ts'
import { publishAnswer } from '../produce/publish-answer.ts'
import { PRODUCE_MS_LEAST, PUBLISH_MS_MAX, type PublishEvents } from '../produce/publish-events.ts'
import { dryRunOf } from './dry-run.ts'
import { publishLines } from './publish-lines.ts'
import { announcedBytes, bodyOf } from './publish-request.ts'
import { type PublishTraces, RequestTrace } from './request-trace.ts'

export interface PublishParts {
  admission: Admission
  rate: RateLimit
  streams: StreamDirectory
  publish: PublishEvents
  metrics: GatewayMetrics
  rules: DataRules
  /** Resolves when the event types were read, once; null: they were. */
  whenKnown: () => Promise<void> | null
  /** Knows the triggers, for dry runs. */
  ask: AskOrchestrator
  /** Null: no traces are wanted. */
  traces: PublishTraces | null
  now: () => number
  /** Aborted when the gateway stops: what comes line by line ends. */
  stopping: AbortSignal
}

const publishQuery = z.strictObject({ dry_run: flagParameter })

/** `POST /v1/events`, in every format that events come in. */
export function publishRoute(parts: PublishParts) {
  return async (app: FastifyInstance): Promise<void> => {
    // The handler reads the body itself: it is counted against what is in flight before and while it is read.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    app.route({
      method: 'POST',
      url: '/v1/events',
      config: { scope: 'events:write' },
      handler: async (request, reply) => await publishEvents(request, reply, parts),
    })
  }
}

async function publishEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  parts: PublishParts,
): Promise<unknown> {
  const { dry_run: dryRun } = parseQuery(publishQuery, request.query)
  const { headers } = request
  const told = { events: 1 }
  const trace = new RequestTrace(parts.traces, request, reply)
  let ticket: AdmissionTicket | null = null
  // What triggers there are is not for everybody who publishes.
  if (dryRun) requireScope(request.caller, 'runs:read')
  try {
    const format = eventFormat({ contentType: headers['content-type'], headers })
    if (format === 'lines') {
      if (dryRun) throw noDryLines()
      await rulesKnown(parts)
      sayRate(request, reply, parts)
      return await publishLines(request, reply, { ...parts, trace })
    }
    ticket = parts.admission.admit(announcedBytes(request) ?? 0)
    const events = await readEvents(request, format, { ...parts, ticket, told, trace })
    requireWritable(events, request.caller)
    await rulesKnown(parts)
    // A filter sees of a dry run what was sent, and nothing of it is written.
    const warnings = checkData(events, dryRun ? { ...parts.rules, isFramed: false } : parts.rules)
    if (dryRun) return await dryRunOf(events, request, { ...parts, warnings })
    parts.rate.take(request.caller, events.length)
    return await answer(events, request, reply, { ...parts, trace, warnings })
  } catch (error) {
    parts.metrics.rejected(error instanceof ProblemError ? error.code : 'internal', told.events)
    throw error
  } finally {
    sayRate(request, reply, parts)
    ticket?.release()
  }
}

/** Right after the start: nothing is written that was not checked. */
async function rulesKnown({ whenKnown }: PublishParts): Promise<void> {
  const known = whenKnown()
  if (known !== null) await withinDeadline(known, PUBLISH_MS_MAX - PRODUCE_MS_LEAST)
}

/** On every answer, so that a client can slow down before it is refused. */
function sayRate({ caller }: FastifyRequest, reply: FastifyReply, { rate }: PublishParts): void {
  const state = rate.stateOf(caller)
  if (state !== null && !reply.sent) reply.headers(rateHeaders(state))
}

async function answer(
  events: readonly PreparedEvent[],
  request: FastifyRequest,
  reply: FastifyReply,
  parts: Traced & { warnings: readonly FieldFault[] },
): Promise<unknown> {
  const deadline = performance.now() + PUBLISH_MS_MAX
  await ensureStreams(events, parts.streams, PUBLISH_MS_MAX - PRODUCE_MS_LEAST)
  const held = checkpoint('gateway.before-produce')
  if (held) await held
  const outcomes = await parts.publish(events, deadline - performance.now())
  parts.trace.endBatch(events, outcomes)
  const told = publishAnswer(outcomes, { requestId: request.id, warnings: parts.warnings })
  if (told.status === 503) {
    return await sendProblem(reply, told.problem, { events: told.events })
  }
  reply.code(told.status).header('content-type', 'application/json; charset=utf-8')
  return JSON.stringify(told.body)
}

export interface Traced extends PublishParts {
  trace: RequestTrace
}

interface Admitted extends Traced {
  ticket: AdmissionTicket
  /** How many events the request holds, as far as is known when it fails. */
  told: { events: number }
}

async function readEvents(
  request: FastifyRequest,
  format: Exclude<EventFormat, 'lines'>,
  { ticket, told, trace, now }: Admitted,
): Promise<readonly PreparedEvent[]> {
  const idempotencyKey = parseIdempotencyKey(request.headers['idempotency-key'])
  const isPacked = request.headers['content-encoding'] !== undefined
  const bytes = await readBody(bodyOf(request), {
    lengthBytes: isPacked ? null : announcedBytes(request),
    onBytes: (read) => ticket.raiseBytes(read),
  })
  const body = parseBody(bytes, format, {
    rawHeaders: request.raw.rawHeaders,
    contentType: request.headers['content-type'],
  })
  told.events = body.events.length
  ticket.addEvents(body.events.length)
  return prepareEvents(body, {
    keyId: request.caller.keyId,
    idempotencyKey,
    traceparent: trace.beginBatch(),
    now: now(),
  })
}

function noDryLines(): ProblemError {
  const detail = 'is not possible with NDJSON, which is written line by line; send {"events":[…]}'
  const fault: FieldFault = { pointer: '?dry_run', code: 'invalid_query', detail }
  return new ProblemError('invalid_query', `?dry_run: ${detail}`, { errors: [fault] })
}
