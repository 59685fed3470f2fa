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
  toWireFacts,
} from './event/kafka-event.ts'
export { decodeExternal, type ReadEvent, type ReadRecord, STREAM_HEADER } from './event/external-record.ts'
export {
  addSchemaIds,
  frameOf,
  type Frames,
  needsSchemas,
  type ReadFrame,
  takesFrames,
} from './event/frame.ts'
export { type DeadLetterRecord, decodeDeadLetter, ridingHeaders } from './event/dead-letter-record.ts'
export {
  decodeResponse,
  type DecodedResponse,
  encodeResponse,
  type ResponseRecord,
} from './event/response-record.ts'
export { isoTime } from './event/iso-time.ts'
export { compilePattern } from './match/pattern.ts'
export { indexEventTypes } from './match/event-types.ts'
export type { FilteredEvent } from './match/expression.ts'
export { type CancelFilter, compileCancelFilter, type CompiledCancelFilter } from './match/cancel-filter.ts'
export { compileFilter, type CompiledFilter, type Filter } from './match/filter.ts'
export { concurrencyKeyOf, concurrencyKeyOfInput, noConcurrencyKey } from './match/concurrency-key.ts'
export { compileWindowKey, type WindowKey } from './match/window-key.ts'
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
export { type CursorGap, findGap, gapOf, type LogMarks } from './window/gap.ts'
export { compileGrants, type Grants } from './keys/grants.ts'
export { OffsetRanges } from './window/offset-ranges.ts'
export { type CloseReason, type WindowEvent, type WindowRule } from './window/open-window.ts'
export { type ClosedWindow, type CursorPoint, NOTHING_SETTLED, Windows } from './window/windows.ts'
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
