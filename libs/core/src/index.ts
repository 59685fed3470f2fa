export {
  decodeEvent,
  type DecodedEvent,
  encodedBytes,
  encodeEvent,
  type KafkaEvent,
  type NewEvent,
  type StreamRecord,
  toInputEvent,
  toWireEvent,
} from './event/kafka-event.ts'
export {
  decodeResponse,
  type DecodedResponse,
  encodeResponse,
  type ResponseRecord,
} from './event/response-record.ts'
export { isoTime } from './event/iso-time.ts'
export { compilePattern } from './match/pattern.ts'
export { compileFilter, type CompiledFilter, type Filter, type FilteredEvent } from './match/filter.ts'
export {
  armCrashPoint,
  checkpoint,
  crashPoint,
  parseCrashPointSpec,
  setCheckpointHandler,
  setCrashHandler,
  type CheckpointHandler,
  type CrashHandler,
  type CrashPointSpec,
} from './crash-point.ts'
export {
  type ClosedWindow,
  type CloseReason,
  cursorOf,
  type CursorPoint,
  emptyWindow,
  NOTHING_DONE,
  onEvent,
  onHead,
  onPassed,
  type WindowEvent,
  type WindowRule,
  type WindowState,
  type WindowStep,
} from './window/window.ts'
export {
  backoffMs,
  decideRetry,
  defaultRetryPolicy,
  type FailedAttempt,
  type RetryDecision,
  type RetryPolicy,
} from './retry/retry-policy.ts'
export {
  claimedAlone,
  FIRST_EPOCH,
  isEnded,
  LOST_CLAIMED_ALONE,
  LOST_MAX,
  RETRY_EPOCH,
  type RunEvent,
  type RunState,
  runTransition,
  type RunTransition,
} from './run/run-state.ts'
