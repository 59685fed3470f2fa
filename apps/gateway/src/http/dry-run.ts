import { compileFilter, compilePattern, decodeEvent, toWireEvent } from '@headrace/core'
import { type FieldFault, ProblemError, streamOf, type WireDryRun, type WireEvent } from '@headrace/schemas'
import type { FastifyRequest } from 'fastify'
import type { PreparedEvent } from '../ingest/prepare-events.ts'
import type { AskOrchestrator } from '../orchestrator/ask-orchestrator.ts'
import { type KnownTrigger, readTriggers } from '../orchestrator/read-triggers.ts'

/**
 * `POST /v1/events?dry_run=true`: the events are valid, and these triggers would take them. Nothing is written, and no
 * stream is made. Throws `orchestrator_unavailable`: who the triggers are is known there, in Postgres.
 */
export async function dryRunOf(
  events: readonly PreparedEvent[],
  request: FastifyRequest,
  { ask, now, warnings }: { ask: AskOrchestrator; now: () => number; warnings: readonly FieldFault[] },
): Promise<WireDryRun> {
  const triggers = await readTriggers(ask, request.headers.authorization)
  if (triggers === null) {
    const detail =
      'A dry run asks the orchestrator for the triggers, and it did not answer; it needs Postgres'
    throw new ProblemError('orchestrator_unavailable', detail)
  }
  const byStream = Map.groupBy(triggers, ({ pattern }) => streamOf(pattern))
  return {
    dry_run: true,
    events: events.map((event) => ({
      id: event.callerId,
      topic: event.topic,
      stream: event.stream,
      triggers: (byStream.get(event.stream) ?? []).flatMap((trigger) => outcomeOf(trigger, event, now())),
    })),
    warnings: [...warnings],
  }
}

type Outcome = WireDryRun['events'][number]['triggers'][number]

function outcomeOf(
  { id: trigger, workflow, pattern, if: filter, status }: KnownTrigger,
  event: PreparedEvent,
  now: number,
): Outcome[] {
  if (!compilePattern(pattern)(event.topic)) return []
  const told = { trigger, workflow, status }
  const wire = filter === null ? null : wireEventOf(event, now)
  if (filter === null || wire === null) return [{ ...told, outcome: 'run', detail: null }]
  const compiled = compileFilter(filter)
  if (compiled.kind === 'invalid') return [{ ...told, outcome: 'filtered', detail: compiled.reason }]
  const answer = compiled.ask(wire)
  if (answer.kind === 'passes') return [{ ...told, outcome: 'run', detail: null }]
  return [{ ...told, outcome: 'filtered', detail: 'reason' in answer ? answer.reason : null }]
}

/** The event as a filter would see it, but for its place in the log, which it does not have: 0, and now. */
function wireEventOf({ record, stream }: PreparedEvent, now: number): WireEvent | null {
  const decoded = decodeEvent(stream, {
    partition: 0,
    offset: 0,
    timestamp: now,
    key: Buffer.from(record.key),
    value: Buffer.from(String(record.value)),
    headers: record.headers,
  })
  return decoded.kind === 'event' ? toWireEvent(decoded.event) : null
}
