import type { WireEvent } from './event.ts'
import type { FieldFault } from './problem.ts'
import type { RunStatus } from './run.ts'
import type { BindingRule } from './stream-binding.ts'

/** Shapes of the read side of the HTTP contract (docs/api.md). Lists are `{"data":[…],"next_cursor":"…"|null}`. */
export interface WireList<Item> {
  data: Item[]
  next_cursor: string | null
}

export type StreamStatus = 'ok' | 'recreated' | 'truncated' | 'paused' | 'unreachable'

export interface WireStream {
  name: string
  kafka_topic: string
  partitions: number
  begin: Record<string, number>
  end: Record<string, number>
  retention_ms: number | null
  /** Null where the orchestrator, which knows them, cannot be asked. */
  triggers: string[] | null
  waited: boolean | null
  /** How the records of an external stream are read; null for a stream of Headrace's own. */
  external: BindingRule | null
  status: StreamStatus
}

export type TriggerStatus = 'live' | 'paused' | 'backpressured' | 'stopped' | 'retired'

export interface WireTrigger {
  id: string
  workflow: string
  app: string
  build: string | null
  pattern: string
  window: { size: number; timeout_seconds: number | null; max_bytes: number; key: string | null }
  if: string | null
  on_gap: 'stop' | 'continue'
  status: TriggerStatus
  reason: string | null
  cursors: WireCursor[]
}

export interface WireCursor {
  stream: string
  partition: number
  next_offset: number
  end_offset: number | null
  lag: number | null
  status: 'live' | 'paused' | 'stopped'
  /** Why it is stopped: `gap`, `recreated` or `truncated`. */
  reason: string | null
  /** Offsets that retention took before they were seen, since it was last reset. */
  lost: number
  /** The events in open windows, as of some seconds ago, and the log time of the first; null: none, or not known. */
  open_window: { events: number; since: string } | null
  /** How long retention leaves what it has not seen, at least; null: it has seen all, all is kept for ever, or not known. */
  retention_margin_seconds: number | null
}

export interface WireWorkflow {
  id: string
  app: string
  build: string | null
  queue: string
  on_deploy: 'upgrade' | 'pin'
  status: 'live' | 'paused' | 'retired'
  /** Runs that may be under way at a time, of each value of `key`; null: any number. */
  concurrency: { limit: number; key: string | null } | null
  triggers: string[]
  workers: number
  runs: Partial<Record<RunStatus, number>>
}

/** A build of an app, as its workers registered it. */
export interface WireBuild {
  id: string
  app: string
  /** Its set of workflows and triggers is the one that counts. */
  in_force: boolean
  workflows: string[]
  /** Living workers, those that drain left out. */
  workers: number
  /** Live runs of pinned workflows that began on it: they go on with its workers only. */
  pinned_runs: number
  first_registered_at: string
  last_registered_at: string
}

export interface WireWorker {
  id: string
  app: string
  queue: string
  build: string
  host: string
  sdk: string
  status: 'live' | 'draining' | 'dead'
  partitions: number[]
  workflows: string[]
  running: number
  concurrency: number
  started_at: string
  last_heartbeat_at: string
}

export interface WireQueue {
  id: string
  queued: number
  running: number
  waiting: number
  capacity: number
  oldest_queued_seconds: number | null
}

export interface ComponentStatus {
  /** `unknown`: the orchestrator, which knows, cannot be asked. */
  status: 'ok' | 'degraded' | 'down' | 'unknown'
  instances: number
}

export interface WireStatus {
  status: 'ok' | 'degraded'
  version: string
  kafka: { status: 'ok' | 'down'; brokers: string[] }
  postgres: { status: 'ok' | 'down' | 'unknown' }
  components: { gateway: ComponentStatus; trigger_service: ComponentStatus; orchestrator: ComponentStatus }
}

/** A wait of a run. `pending`: what came before it is not complete yet where waits look for their answer. */
export interface WireWait {
  run_id: string
  key: string
  /** `cancel`: no step, but a rule of its workflow; its answer cancels the run. */
  kind: 'event' | 'time' | 'run' | 'resume' | 'cancel'
  status: 'pending' | 'open' | 'answered' | 'timed_out' | 'cancelled'
  topic: string | null
  if: string | null
  since: string
  /** Null: it ends with its run. */
  expires_at: string | null
  /** Its `since` is older than the look-back: of what came before, only the latest event was looked at. */
  lookback_truncated: boolean
  /** Timed out without the proof that no answer was on its way. */
  unverified: boolean
  /** The event that answered it. */
  answer: { stream: string; partition: number; sequence_id: number } | null
  /** Of a wait for a run: the run. */
  child_run_id: string | null
  created_at: string
  answered_at: string | null
}

/** What a trigger made of an event. */
export interface WireOutcome {
  trigger: string
  outcome:
    | 'run'
    | 'open_window'
    | 'no_match'
    | 'filtered'
    | 'repeat'
    | 'before_cursor'
    | 'not_read_yet'
    | 'dead_letter'
  run_id: string | null
  detail: string | null
}

export interface WireExplanation {
  /** Null where the record is no event. */
  event: WireEvent | null
  unreadable: { reason: string; detail: string } | null
  triggers: WireOutcome[]
  /** The waits that it answered. */
  waits: { run_id: string; key: string }[]
}

/** What `POST /v1/events?dry_run=true` answers. */
export interface WireDryRun {
  dry_run: true
  events: {
    /** As the caller gave it; another is made when the event is published. */
    id: string | null
    topic: string
    stream: string
    /** Those whose pattern it matches, and whether it passes their `if`. */
    triggers: {
      trigger: string
      workflow: string
      status: TriggerStatus
      outcome: 'run' | 'filtered'
      detail: string | null
    }[]
  }[]
  /** What the schema of an event type with the mode `warn` does not take. */
  warnings: FieldFault[]
}
