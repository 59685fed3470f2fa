import { pino, stdTimeFunctions, type DestinationStream } from 'pino'
import { systemClock, type Clock } from './clock.ts'
import { scrubSecrets, SECRET_PATHS } from './secrets.ts'

/** The levels of `HEADRACE_LOG_LEVEL`, loudest last. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** The fields of a line. `event` names what happened, once and for all: `run.claimed`. Payloads are never logged. */
export interface LogFields {
  event: string
  code?: string | undefined
  run_id?: string | undefined
  workflow?: string | undefined
  step_key?: string | undefined
  epoch?: number | undefined
  trigger?: string | undefined
  stream?: string | undefined
  partition?: number | undefined
  sequence_id?: number | undefined
  worker_id?: string | undefined
  request_id?: string | undefined
  trace_id?: string | undefined
  /** An Error; written with its type, message, stack and causes. */
  err?: unknown
  [field: string]: unknown
}

type Write = (fields: LogFields, message?: string) => void

/** A log of JSON lines, one event a line. A pino logger is one. */
export interface Logger {
  trace: Write
  debug: Write
  info: Write
  warn: Write
  error: Write
  fatal: Write
  /** A log whose lines carry these fields as well. */
  child(fields: Record<string, unknown>): Logger
}

export interface LoggerOptions {
  /** The process's name, written as `app`. */
  name: string
  level: LogLevel
  /** Where the lines go; stdout, synchronously, unless said: a killed process must have said what it did. */
  stream?: DestinationStream
}

/** Makes the log of one process. Secrets are cut out by field name, and by shape wherever they stand in a line. */
export function createLogger({ name, level, stream }: LoggerOptions): Logger {
  const options = {
    level,
    base: { app: name },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET_PATHS, censor: '[redacted]' },
    hooks: { streamWrite: scrubSecrets },
  }
  return stream === undefined ? pino(options) : pino(options, stream)
}

/** A log that says nothing, for tests and for parts that were given none. */
export const silentLogger: Logger = createLogger({ name: 'silent', level: 'silent' })

/** Distinct keys remembered per log; past it the oldest is forgotten, which at worst logs a line too many. */
const LIMITED_KEYS_MAX = 1_000

interface Repeat {
  openAtMs: number
  suppressed: number
}

const repeatsByLog = new WeakMap<Logger, Map<string, Repeat>>()

/**
 * The same log, but at most one line of `key` every `everyMs`. The next line that passes carries
 * `suppressed: n`, the number of lines that were not written since the last.
 */
export function limited(log: Logger, key: string, everyMs: number, clock: Clock = systemClock): Logger {
  const write =
    (level: Exclude<LogLevel, 'silent'>): Write =>
    (fields, message) => {
      const suppressed = admit(log, key, everyMs, clock.now())
      if (suppressed === null) return
      log[level](suppressed === 0 ? fields : { ...fields, suppressed }, message)
    }
  return {
    trace: write('trace'),
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    child: (fields) => limited(log.child(fields), key, everyMs, clock),
  }
}

/** `null` = do not write; else how many lines were suppressed before this one. */
function admit(log: Logger, key: string, everyMs: number, nowMs: number): number | null {
  let repeats = repeatsByLog.get(log)
  if (repeats === undefined) {
    repeats = new Map()
    repeatsByLog.set(log, repeats)
  }
  const repeat = repeats.get(key)
  if (repeat !== undefined && nowMs < repeat.openAtMs) {
    repeat.suppressed += 1
    return null
  }
  repeats.delete(key)
  repeats.set(key, { openAtMs: nowMs + everyMs, suppressed: 0 })
  if (repeats.size > LIMITED_KEYS_MAX) {
    const [oldest] = repeats.keys()
    if (oldest !== undefined) repeats.delete(oldest)
  }
  return repeat?.suppressed ?? 0
}
