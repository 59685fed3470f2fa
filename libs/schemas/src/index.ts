export {
  asEventId,
  asRunId,
  asTriggerId,
  asWorkerId,
  type EventId,
  parseRunId,
  type RunId,
  type TriggerId,
  type WorkerId,
} from './ids.ts'
export { type CloudEvent, cloudEventSchema, extensionsOf } from './cloud-event.ts'
export { limits } from './limits.ts'
export {
  type CreateKey,
  createKeySchema,
  type GrantedScope,
  type KeyScope,
  keyScopeFault,
  keyScopes,
  keySettingSchema,
  parseKeyScope,
  rotateKeySchema,
  type StoredKey,
  type WireAudit,
  type WireKey,
  type WireNewKey,
} from './api-key.ts'
export { type Duration, durationMs } from './duration.ts'
export { patternFault, streamOf, topicFault } from './topic.ts'
export {
  bounded,
  type EventRecord,
  type ExternalFacts,
  type InputEvent,
  type Json,
  patternSchema,
  type PublishedEvent,
  type PublishEvent,
  publishEventSchema,
  topicSchema,
  type WireEvent,
} from './event.ts'
export {
  bindingFaults,
  type BindingRule,
  bindingRuleSchema,
  bindStreamSchema,
  type StreamBinding,
} from './stream-binding.ts'
export {
  type DeadLetterStatus,
  deadLetterStatuses,
  type DecideDeadLetter,
  decideDeadLetterSchema,
  type WireDeadLetter,
  type WireDeadLetterWhole,
} from './dead-letter.ts'
export { type FieldFault, type Problem, type ProblemCode, ProblemError, problems } from './problem.ts'
export { parseCommandsRequest } from './commands-request.ts'
export { faultsOf, jsonPointer, parseOrProblem } from './validate.ts'
export { isExact, parseExactJson } from './exact-json.ts'
export {
  type CancelRule,
  nameSchema,
  queueSchema,
  type TriggerDefinition,
  triggerDefinitionSchema,
  type WireWindowRule,
  type WorkflowDefinition,
  workflowDefinitionSchema,
} from './workflow.ts'
export {
  answerKinds,
  endedRunStatuses,
  type ResumeStep,
  resumeStepSchema,
  type RunStatus,
  runStatuses,
  type StartRun,
  startRunSchema,
  storableText,
  type StepKind,
  stepKinds,
  tagsSchema,
  type WireError,
  type WireRun,
  type WireStep,
} from './run.ts'
export {
  type BulkAction,
  type BulkRuns,
  bulkRunsSchema,
  type TimelineKind,
  type WireBulk,
  type WireTimelineEntry,
} from './steering.ts'
export {
  type ReplayTrigger,
  replayTriggerSchema,
  resetTriggerSchema,
  type StreamPlace,
  type WireReplay,
  type WireReplayRange,
  type WireReplayStatus,
  type WireReset,
  type WireResetCursor,
} from './trigger-steering.ts'
export { type Task, taskSchema } from './task.ts'
export {
  type ClaimCommand,
  type ClaimedRun,
  type Command,
  type CommandReply,
  commandSchema,
  type CommandsReply,
  type CommandsRequest,
  commandsRequestSchema,
  type CompleteCommand,
  type FailCommand,
  type InvokeCommand,
  type LookCommand,
  type PublishCommand,
  type SuspendCommand,
  type WaitCommand,
  type HeartbeatReply,
  type HeartbeatRequest,
  heartbeatRequestSchema,
  ownKeyPrefix,
  protocolHeader,
  protocolVersion,
  type RegisterReply,
  type RegisterRequest,
  registerRequestSchema,
  type PauseCommand,
  type PauseReason,
  type ReleaseCommand,
  type StealCommand,
  type StepCommand,
  type StoredStep,
} from './worker-protocol.ts'
export {
  type ComponentStatus,
  type StreamStatus,
  type TriggerStatus,
  type WireBuild,
  type WireCursor,
  type WireDryRun,
  type WireExplanation,
  type WireList,
  type WireOutcome,
  type WireQueue,
  type WireStatus,
  type WireStream,
  type WireTrigger,
  type WireWait,
  type WireWorker,
  type WireWorkflow,
} from './resource.ts'
