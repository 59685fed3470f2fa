export { openStore, type Store, type StoreOptions } from './connection.ts'
export { classify, type FaultKind, isolate, type Isolated, withRetries } from './fault.ts'
export { migrate, schemaVersion } from './migrate.ts'
export { ensurePartitions } from './partitions.ts'
export { dropOldResponses, responseAgeMsMax, responseAheadMsMax } from './response-retention.ts'
export { dropOrTrimPartitions, type Retention, retentionDefault, type RetentionOutcome } from './retention.ts'
export { newRunIds, runIdTime } from './run-id.ts'
export { createServerClock, type ServerClock } from './server-clock.ts'
export { storableName } from './storable-name.ts'

export {
  answerFromResponses,
  type FilterMatch,
  type ResponseInHand,
} from './queries/answer-from-responses.ts'
export { answerChildren, endedChildWaits } from './queries/answer-children.ts'
export { admitRuns, keysWithRoom } from './queries/admit-runs.ts'
export { answerTimers } from './queries/answer-timers.ts'
export { type Answered, type AnsweredWait } from './queries/answer-waits.ts'
export {
  applyCommands,
  type CommandsOutcome,
  type EndedRun,
  type WorkerCommand,
} from './queries/apply-commands.ts'
export type { ConcurrencyKey } from './queries/concurrency-keys.ts'
export { uncheckedWaits } from './queries/checked-waits.ts'
export { cancelByResponses, cancelFromResponses, type CancelMatch } from './queries/cancel-from-responses.ts'
export { uncheckedCancels } from './queries/cancel-terms.ts'
export { claimRuns, type ClaimRequest } from './queries/claim-runs.ts'
export {
  type CorrelatorCursor,
  loadCorrelatorCursors,
  raiseCorrelatorCursor,
  resetCorrelatorCursor,
} from './queries/correlator-cursors.ts'
export { type CreatedRun, createRun, type NewRun } from './queries/create-run.ts'
export {
  createCursors,
  type CursorRow,
  cursorsOfTriggers,
  type CursorStatus,
  loadCursors,
  type NewCursor,
  setCursorStatus,
} from './queries/cursors.ts'
export {
  beginRedrive,
  countDecidedDeadLetters,
  type DeadLetterDecision,
  deadLetterDecisions,
  type DeadLetterRef,
  decideDeadLetter,
  type DecisionBy,
  dropOldDecisions,
} from './queries/dead-letter-decisions.ts'
export {
  decisionsKeptMsDefault,
  gapsOver,
  recordRepeats,
  repeatAt,
  repeatsAt,
  type RepeatDecision,
  sweepDecisions,
} from './queries/decisions.ts'
export { enterEventIds, type EventIdEntry, type EventPosition, isAt } from './queries/enter-event-ids.ts'
export { incarnationsOf, recalledEventIds, sweptEventIds, type SweptTo } from './queries/event-id-sweeps.ts'
export { answeredBy, type EventRun, firstPositionOf, runsWithEvent } from './queries/explain-event.ts'
export {
  type CursorMove,
  type CursorName,
  flushWindows,
  readRuns,
  type WindowRun,
} from './queries/flush-windows.ts'
export {
  type Heartbeat,
  type HeartbeatOutcome,
  heartbeatWorker,
  type RunAt,
} from './queries/heartbeat-worker.ts'
export {
  beatInstance,
  type Component,
  dropOldInstances,
  type Instance,
  listInstances,
} from './queries/instances.ts'
export { insertResponses, type ResponseRow } from './queries/insert-responses.ts'
export {
  openStream,
  type ProjectionCursor,
  projectionCursors,
  type StreamToOpen,
  streamsToOpen,
} from './queries/open-streams.ts'
export {
  countOpenWaits,
  listWaits,
  type OpenWaitCount,
  type StepWaitKind,
  type WaitFilter,
  type WaitRecord,
} from './queries/list-waits.ts'
export { openPendingWaits, openWaitsOn, type OpenWait } from './queries/open-waits.ts'
export { type Answers, type AnswersRequest, readAnswers } from './queries/read-answers.ts'
export {
  createProjections,
  extendProjection,
  listProjectionGaps,
  listWaitedStreams,
  type NewProjection,
  type ProjectionGap,
  projectionTriggerId,
  projectionVersion,
  type WaitedStream,
} from './queries/projections.ts'
export { listRuns, type RunListFilter } from './queries/list-runs.ts'
export { readTimeline, type RunTimeline } from './queries/read-timeline.ts'
export {
  countRuns,
  getRun,
  listRunIds,
  listRunNotes,
  listSteps,
  readRunEnds,
  readRunInputs,
  type RunFilter,
  type RunNote,
} from './queries/read-runs.ts'
export {
  countLiveRuns,
  getWorkflow,
  listQueues,
  listWorkers,
  listWorkflows,
  type LiveCount,
  type QueueRecord,
  type WorkerRecord,
  type WorkflowRecord,
  workflowsWithoutWorker,
} from './queries/read-workflows.ts'
export {
  type LostRun,
  recoverDeadWorkers,
  type Recovered,
  workerDeadAfterMs,
} from './queries/recover-runs.ts'
export { type RedrivenWindow, redriveWindow } from './queries/redrive-window.ts'
export {
  registerApp,
  type Registration,
  type RegistrationConflict,
  type RegistrationOutcome,
  type StreamEnds,
} from './queries/register-app.ts'
export {
  type LoneWaitCommand,
  registerWaits,
  type WaitRegistration,
  type WaitRequest,
} from './queries/register-waits.ts'
export { releaseDelayedRuns } from './queries/release-delayed-runs.ts'
export { type Resumed, resumeWait } from './queries/resume-wait.ts'
export { resumeUnfitRuns } from './queries/resume-unfit-runs.ts'
export { setWorkflowPaused } from './queries/pause-workflow.ts'
export { type BuildRecord, listBuilds, type RisenBuild, risenBuilds } from './queries/builds.ts'
export { type NotTakenReason, notTakenReasons } from './queries/blocked-reasons.ts'
export { replaceWorker } from './queries/replace-worker.ts'
export { retryOf, retryRuns } from './queries/retry-runs.ts'
export type { RunRecord, StepRecord, WaitingFor } from './queries/run-record.ts'
export { type HeldRun, runsHeld } from './queries/runs-held.ts'
export {
  type ChildRequest,
  type RunWaitCommand,
  startChildren,
  type StartedChild,
} from './queries/start-children.ts'
export { stealAfterMs, stealRuns } from './queries/steal-runs.ts'
export { cancelRuns, pauseRuns, resumeRuns } from './queries/steer-runs.ts'
export {
  type EventIdSweep,
  eventIdStreams,
  type HoldingCursor,
  holdingCursors,
  sweepEventIds,
  type SweptEventIds,
} from './queries/sweep-event-ids.ts'
export { bindStream, type BoundStream, type StartOffsets } from './queries/bind-stream.ts'
export {
  findStreamBinding,
  listStreamBindings,
  unbindStream,
  unboundRevision,
} from './queries/stream-bindings.ts'
export {
  type AuditEntry,
  type AuditFilter,
  type AuditRecord,
  listAudit,
  sweepAudit,
  writeAudit,
} from './queries/audit.ts'
export {
  createKey,
  getKey,
  goneKeyRevision,
  type KeyRecord,
  listKeys,
  type NewKey,
  revokeKey,
  rotateKey,
  validKeys,
} from './queries/keys.ts'
export { raiseConfigRevisions, renewConfigRevisions } from './queries/config-revisions.ts'
export {
  deleteEventType,
  type EventTypeRecord,
  goneEventTypeRevision,
  listEventTypes,
  newerBuildLives,
  readEventTypes,
  type RegisteredVersion,
  writeEventTypes,
  type WrittenEventType,
} from './queries/event-types.ts'
export { sweepEndedWaits } from './queries/sweep-ended-waits.ts'
export type { TaskSeed } from './queries/task-seed.ts'
export { timeOutRuns } from './queries/time-out-runs.ts'
export { type DueWait, dueEventWaits, timeOutWaits } from './queries/time-out-waits.ts'
export { type BackpressureChange, setBackpressure } from './queries/backpressure.ts'
export {
  cancelReplay,
  createReplay,
  finishReplay,
  readReplay,
  type ReplayCounts,
  replayCursorId,
  type ReplayRange,
  type ReplayRow,
  replayVersion,
  type RunningReplay,
  runningReplays,
} from './queries/replays.ts'
export { type ResetCursor, resetTrigger } from './queries/reset-trigger.ts'
export { noteOpenWindows, type OpenWindowNote } from './queries/note-open-windows.ts'
export { passGap, type PastGap } from './queries/pass-gap.ts'
export { getTrigger, listTriggers, setTriggerStatus, type TriggerRow } from './queries/triggers.ts'
export {
  type DispatchTarget,
  dispatchTargets,
  dropOldWorkers,
  type NewWorker,
  type RegisteredWorker,
  registeredWorker,
  upsertWorker,
} from './queries/workers.ts'
export type { WaitRef } from './queries/wait-ref.ts'
