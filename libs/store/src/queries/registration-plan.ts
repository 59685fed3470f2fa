import { isDeepStrictEqual } from 'node:util'
import { type CancelRule, streamOf, type TriggerDefinition, type WorkflowDefinition } from '@headrace/schemas'
import type { StoredTriggerStatus, TriggerRow } from './triggers.ts'

/** A trigger as a build defines it, with what it takes from its workflow. */
export interface DesiredTrigger {
  id: string
  workflow: string
  queue: string
  onDeploy: 'upgrade' | 'pin'
  pattern: string
  stream: string
  windowSize: number
  windowTimeoutMs: number | null
  windowMaxBytes: number
  windowKey: string | null
  filter: string | null
  /** The key of its workflow's rule; how many runs it lets in is asked when they are. */
  concurrency: { key: string | null } | null
  cancelOn: readonly CancelRule[]
  gapPolicy: 'stop' | 'continue'
}

export interface RegistrationConflict {
  kind: 'workflow' | 'trigger'
  id: string
  /** The app it belongs to; this app itself when the set names the id twice. */
  app: string
}

export interface ExistingTrigger extends TriggerRow {
  /** By a person, also while it is retired. */
  paused: boolean
  /** Retired longer ago than the look-back, or by another app: its cursors are of no use. */
  stale: boolean
  cursors: number
}

export interface PlannedTrigger extends DesiredTrigger {
  status: Exclude<StoredTriggerStatus, 'retired'>
  version: number
  /** Begins at the end offsets: new, on another stream, or back after more than the look-back. */
  needsCursors: boolean
  /** Its cursors stay where they are, under a new version. */
  raisesCursors: boolean
}

export function desiredTriggers(workflows: WorkflowDefinition[]): DesiredTrigger[] {
  return workflows.flatMap((workflow) => workflow.triggers.map((trigger) => desired(workflow, trigger)))
}

function desired(workflow: WorkflowDefinition, trigger: TriggerDefinition): DesiredTrigger {
  return {
    id: trigger.id,
    workflow: workflow.id,
    queue: workflow.queue,
    onDeploy: workflow.on_deploy,
    pattern: trigger.pattern,
    stream: streamOf(trigger.pattern),
    windowSize: trigger.window.size,
    windowTimeoutMs: trigger.window.timeout_ms,
    windowMaxBytes: trigger.window.max_bytes,
    windowKey: trigger.window.key ?? null,
    filter: trigger.if ?? null,
    concurrency: workflow.concurrency === undefined ? null : { key: workflow.concurrency.key ?? null },
    cancelOn: workflow.cancel_on ?? [],
    gapPolicy: trigger.on_gap ?? 'stop',
  }
}

/** Ids that a set names twice. */
export function doublesIn(app: string, workflows: WorkflowDefinition[]): RegistrationConflict[] {
  const doubles = (kind: 'workflow' | 'trigger', ids: string[]): RegistrationConflict[] =>
    [...new Set(ids.filter((id, index) => ids.indexOf(id) !== index))].map((id) => ({ kind, id, app }))
  return [
    ...doubles(
      'workflow',
      workflows.map((workflow) => workflow.id),
    ),
    ...doubles(
      'trigger',
      desiredTriggers(workflows).map((trigger) => trigger.id),
    ),
  ]
}

/** What one trigger becomes. `existing` is null for an id that was never registered. */
export function planTrigger(wanted: DesiredTrigger, existing: ExistingTrigger | null): PlannedTrigger {
  if (!existing) return { ...wanted, status: 'live', version: 1, needsCursors: true, raisesCursors: false }
  const moved = existing.stream !== wanted.stream
  const revived = existing.status === 'retired'
  const changed = revived || moved || !sameDefinition(wanted, existing)
  const needsCursors = moved || existing.cursors === 0 || (revived && existing.stale)
  return {
    ...wanted,
    status: existing.paused ? 'paused' : 'live',
    version: existing.version + (changed ? 1 : 0),
    needsCursors,
    raisesCursors: changed && !needsCursors,
  }
}

/** All that a window or its run takes from the trigger; the build it runs on is no part of it, nor what a gap does. */
function sameDefinition(wanted: DesiredTrigger, existing: TriggerRow): boolean {
  return (
    wanted.workflow === existing.workflow &&
    wanted.queue === existing.queue &&
    wanted.pattern === existing.pattern &&
    wanted.windowSize === existing.windowSize &&
    wanted.windowTimeoutMs === existing.windowTimeoutMs &&
    wanted.windowMaxBytes === existing.windowMaxBytes &&
    wanted.windowKey === existing.windowKey &&
    wanted.filter === existing.filter &&
    (wanted.concurrency === null) === (existing.concurrency === null) &&
    wanted.concurrency?.key === existing.concurrency?.key &&
    isDeepStrictEqual(wanted.cancelOn, existing.cancelOn)
  )
}
