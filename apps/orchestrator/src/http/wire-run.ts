import type { Json, WireError, WireRun, WireStep, WireWait } from '@headrace/schemas'
import type { NotTakenReason, RunRecord, StepRecord, WaitRecord } from '@headrace/store'

/** RFC 3339, UTC, milliseconds. */
export const wireTime = (ms: number): string => new Date(ms).toISOString()
const wireTimeOrNull = (ms: number | null): string | null => (ms === null ? null : wireTime(ms))

/** Stored JSON text as the value it is. Text that is no JSON (a worker of another make wrote it) is shown as text. */
function jsonOf(text: string | null): Json {
  if (text === null) return null
  try {
    return JSON.parse(text) as Json
  } catch {
    return text
  }
}

const member = (value: Record<string, unknown>, name: string): string | null => {
  const found = value[name]
  return typeof found === 'string' ? found : null
}

function wireError(text: string | null): WireError | null {
  if (text === null) return null
  const value: unknown = jsonOf(text)
  if (typeof value !== 'object' || value === null) {
    return { name: 'Error', message: String(value), code: null, stack: null, step_key: null }
  }
  const fields: Record<string, unknown> = { ...value }
  return {
    name: member(fields, 'name') ?? 'Error',
    message: member(fields, 'message') ?? '',
    code: member(fields, 'code'),
    stack: member(fields, 'stack'),
    step_key: member(fields, 'step_key'),
  }
}

/** `notTaken`: why a queued run that nothing holds back is not taken. */
export function wireRun(
  run: RunRecord,
  { notTaken, payloads }: { notTaken: NotTakenReason | null; payloads: boolean },
): WireRun {
  const { trigger } = run
  return {
    id: run.id,
    workflow: run.workflow,
    app: run.app,
    build: run.build,
    queue: run.queue,
    status: run.status,
    blocked_reason: blockedReasonOf(run, notTaken),
    unfit_builds: run.unfitBuilds,
    epoch: run.epoch,
    attempt: run.attempt,
    trigger:
      trigger === null
        ? null
        : {
            id: trigger.id,
            stream: trigger.stream,
            partition: trigger.partition,
            first_sequence_id: trigger.firstOffset,
            last_sequence_id: trigger.lastOffset,
            events: trigger.events,
          },
    ...(payloads ? { input: jsonOf(run.input), output: jsonOf(run.output) } : {}),
    error: wireError(run.error),
    tags: run.tags,
    waiting_for: run.waitingFor.map(({ key, kind, topic, expiresAt }) => ({
      key,
      kind,
      topic,
      expires_at: wireTime(expiresAt),
    })),
    parent_run_id: run.parentRunId,
    retry_of: run.retryOf,
    worker_id: run.workerId,
    run_at: wireTimeOrNull(run.runAt),
    expires_at: wireTimeOrNull(run.expiresAt),
    traceparent: run.traceparent,
    created_at: wireTime(run.createdAt),
    queued_at: wireTimeOrNull(run.queuedAt),
    started_at: wireTimeOrNull(run.startedAt),
    finished_at: wireTimeOrNull(run.finishedAt),
  }
}

/** Of a paused run: why its code paused it. One that a person paused keeps what held it back before, for when it is resumed. */
function blockedReasonOf(run: RunRecord, notTaken: NotTakenReason | null): string | null {
  if (run.status === 'queued') return run.blockedReason ?? notTaken
  return run.status === 'paused' && run.startedAt !== null ? run.blockedReason : null
}

export const wireStep = (step: StepRecord): WireStep => ({
  key: step.key,
  kind: step.kind,
  status: step.status,
  attempts: step.attempts,
  output: jsonOf(step.output),
  error: wireError(step.error),
  started_at: wireTimeOrNull(step.startedAt),
  finished_at: wireTimeOrNull(step.finishedAt),
})

export const wireWait = (wait: WaitRecord): WireWait => ({
  run_id: wait.runId,
  key: wait.key,
  kind: wait.kind,
  status: wait.status,
  topic: wait.topic,
  if: wait.filter,
  since: wireTime(wait.since),
  expires_at: wireTimeOrNull(wait.expiresAt),
  lookback_truncated: wait.lookbackTruncated,
  unverified: wait.unverified,
  answer:
    wait.answer === null
      ? null
      : {
          stream: wait.answer.stream,
          partition: wait.answer.partition,
          sequence_id: wait.answer.sequenceId,
        },
  child_run_id: wait.childRunId,
  created_at: wireTime(wait.createdAt),
  answered_at: wireTimeOrNull(wait.answeredAt),
})
