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
export { compilePattern } from './match/pattern.ts'
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
