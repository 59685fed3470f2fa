import type { Json, RunStatus, WireError, WireRun } from '@headrace/schemas'

/** A run as the API shows it. Times are RFC 3339, UTC. */
export interface Run<Output = Json> {
  id: string
  workflow: string
  app: string | null
  /** The build it began on. */
  build: string | null
  queue: string
  status: RunStatus
  /** Why a queued run does not go on (`no_worker`, `delayed`, …), or why its worker paused it. */
  blockedReason: string | null
  /** Builds whose code did not fit what it has stored. */
  unfitBuilds: string[]
  epoch: number
  attempt: number
  trigger: {
    id: string
    stream: string
    partition: number
    firstSequenceId: number
    lastSequenceId: number
    events: number
  } | null
  /** Absent in lists. */
  input?: Json
  /** Absent in lists; null until the run is completed. */
  output?: Output
  error: WireError | null
  tags: Record<string, string>
  waitingFor: {
    key: string
    kind: 'event' | 'time' | 'run' | 'resume'
    topic: string | null
    expiresAt: string | null
  }[]
  parentRunId: string | null
  retryOf: string | null
  workerId: string | null
  /** It is held until then: it was started with a `delay`. */
  runAt: string | null
  /** When it times out: for want of a claim, and once it has started, of an end. */
  expiresAt: string | null
  traceparent: string | null
  createdAt: string
  queuedAt: string | null
  startedAt: string | null
  finishedAt: string | null
}

export function runOf<Output>(wire: WireRun): Run<Output> {
  const { trigger } = wire
  return {
    id: wire.id,
    workflow: wire.workflow,
    app: wire.app,
    build: wire.build,
    queue: wire.queue,
    status: wire.status,
    blockedReason: wire.blocked_reason,
    unfitBuilds: wire.unfit_builds,
    epoch: wire.epoch,
    attempt: wire.attempt,
    trigger: trigger && {
      id: trigger.id,
      stream: trigger.stream,
      partition: trigger.partition,
      firstSequenceId: trigger.first_sequence_id,
      lastSequenceId: trigger.last_sequence_id,
      events: trigger.events,
    },
    ...(wire.input === undefined ? {} : { input: wire.input }),
    ...(wire.output === undefined ? {} : { output: wire.output as Output }),
    error: wire.error,
    tags: wire.tags,
    waitingFor: wire.waiting_for.map(({ key, kind, topic, expires_at }) => ({
      key,
      kind,
      topic,
      expiresAt: expires_at,
    })),
    parentRunId: wire.parent_run_id,
    retryOf: wire.retry_of,
    workerId: wire.worker_id,
    runAt: wire.run_at,
    expiresAt: wire.expires_at,
    traceparent: wire.traceparent,
    createdAt: wire.created_at,
    queuedAt: wire.queued_at,
    startedAt: wire.started_at,
    finishedAt: wire.finished_at,
  }
}
