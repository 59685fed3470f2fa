import { writeSync } from 'node:fs'
import { armCrashPoint } from '@headrace/core'

/** The file descriptor of stderr. */
const STDERR = 2

/**
 * Arms the crash point that `HEADRACE_CRASH_POINT` (`name` or `name:N`) names: at its N-th passing this process
 * says `HEADRACE_CRASH_POINT <name>` on stderr and kills itself with SIGKILL, so that nothing is cleaned up.
 * Called once, first thing in a process. Returns whether anything was armed.
 */
export function installCrashPoint(env: { HEADRACE_CRASH_POINT?: string | undefined }): boolean {
  return armCrashPoint(env.HEADRACE_CRASH_POINT, (name) => {
    // Written past stream buffers: the test counts this line, and nothing after it will run.
    writeSync(STDERR, `HEADRACE_CRASH_POINT ${name}\n`)
    process.kill(process.pid, 'SIGKILL')
  })
}
