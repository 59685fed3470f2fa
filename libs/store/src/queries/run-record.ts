import type { RunStatus, StepKind } from '@headrace/schemas'

/** A wait that has not been answered. */
export interface WaitingFor {
  key: string
  kind: 'event' | 'time' | 'run' | 'resume'
  topic: string | null
  expiresAt: number
}

/** A run as the API reads it. Times are ms since 1970; `input`, `output` and `error` are JSON text. */
export interface RunRecord {
  id: string
  workflow: string
  app: string
  build: string | null
  queue: string
  status: RunStatus
  epoch: number
  wake: number
  lost: number
  /** Null in lists, which leave it out. */
  input: string | null
  output: string | null
  error: string | null
  tags: Record<string, string>
  trigger: {
    id: string
    version: number
    stream: string
    incarnation: number
    partition: number
    firstOffset: number
    lastOffset: number
    events: number
  } | null
  waitingFor: WaitingFor[]
  workerId: string | null
  parentRunId: string | null
  retryOf: string | null
  attempt: number
  blockedReason: string | null
  /** Builds whose code did not fit what it has stored. */
  unfitBuilds: string[]
  /** Held until then. */
  runAt: number | null
  /** When it times out: for want of a claim, or, once it has started, of an end. */
  expiresAt: number | null
  traceparent: string | null
  createdAt: number
  queuedAt: number | null
  /** The latest claim. */
  claimedAt: number | null
  startedAt: number | null
  finishedAt: number | null
}

/** A stored result, or a wait for one. */
export interface StepRecord {
  key: string
  kind: StepKind
  status: 'completed' | 'failed' | 'waiting'
  n: number
  seen: number
  epoch: number
  output: string | null
  error: string | null
  attempts: number
  startedAt: number | null
  finishedAt: number | null
}
