import { type DestinationStream, levels, pino } from 'pino'
import type { Logger } from '../run/run-host.ts'

/** JSON lines on stdout (or `stream`), as those of Headrace's own processes. Throws TypeError for a level that is none. */
export function createLog(level: string, stream?: DestinationStream): Logger {
  if (level !== 'silent' && !Object.hasOwn(levels.values, level))
    throw new TypeError(
      `HEADRACE_LOG_LEVEL must be one of ${Object.keys(levels.values).join(', ')}, silent, not "${level}"`,
    )
  const options = {
    level,
    base: { app: 'worker' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  return stream === undefined ? pino(options) : pino(options, stream)
}
