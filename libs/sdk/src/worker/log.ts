import { levels, pino } from 'pino'
import type { Logger } from '../run/run-host.ts'

/** JSON lines on stdout. Throws TypeError for a level that is none. */
export function createLog(level: string): Logger {
  if (level !== 'silent' && !Object.hasOwn(levels.values, level))
    throw new TypeError(
      `HEADRACE_LOG_LEVEL must be one of ${Object.keys(levels.values).join(', ')}, silent, not "${level}"`,
    )
  return pino({ level, base: { component: 'worker' }, timestamp: pino.stdTimeFunctions.isoTime })
}
