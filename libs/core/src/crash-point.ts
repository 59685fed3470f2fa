/**
 * Named places in the code at which a test kills the process, or holds it for a moment.
 *
 * A crash point costs one comparison with null until a handler is installed; in production none ever is.
 * The registry lives here, in the pure core, because the apps and the SDK share it; what "crash" means
 * (writing a line, SIGKILL) is passed in by whoever has a process to kill.
 */

/** Told the name of each crash point that is passed. It may end the process, and so not return. */
export type CrashHandler = (name: string) => void

/** Told the name of each checkpoint that is reached; the code waits there until the promise resolves. */
export type CheckpointHandler = (name: string) => Promise<void> | undefined

let crashHandler: CrashHandler | null = null
let checkpointHandler: CheckpointHandler | null = null

/** Installs the one crash handler of this process; `null` removes it. */
export function setCrashHandler(handler: CrashHandler | null): void {
  crashHandler = handler
}

/** Installs the one checkpoint handler of this process; `null` removes it. */
export function setCheckpointHandler(handler: CheckpointHandler | null): void {
  checkpointHandler = handler
}

/** A place where a process may die. Synchronous, so that nothing can slip between the place and the death. */
export function crashPoint(name: string): void {
  if (crashHandler !== null) crashHandler(name)
}

/**
 * A place where an in-process test may hold the code, to force an interleaving.
 * Returns `undefined` when nobody holds it: write `const held = checkpoint('x'); if (held) await held`
 * on a hot path, so that no microtask is spent.
 */
export function checkpoint(name: string): Promise<void> | undefined {
  return checkpointHandler === null ? undefined : checkpointHandler(name)
}

/** What `HEADRACE_CRASH_POINT` says: die at the `hit`-th passing of `name`. */
export interface CrashPointSpec {
  name: string
  /** 1 = the first time. */
  hit: number
}

/** Parses `name` or `name:N`. Returns `null` for an absent or empty text; throws RangeError for a broken one. */
export function parseCrashPointSpec(text: string | undefined): CrashPointSpec | null {
  if (text === undefined || text === '') return null
  const match = /^([a-z0-9][a-z0-9.-]*)(?::([1-9][0-9]{0,8}))?$/.exec(text)
  const name = match?.[1]
  if (name === undefined) {
    throw new RangeError(`HEADRACE_CRASH_POINT must be "name" or "name:N" (N from 1), not "${text}"`)
  }
  return { name, hit: Number(match?.[2] ?? 1) }
}

/**
 * Arms the crash point that `spec` (the value of `HEADRACE_CRASH_POINT`) names: `crash` is called at its N-th
 * passing. Called once, at the start of a process. Returns whether anything was armed.
 */
export function armCrashPoint(spec: string | undefined, crash: CrashHandler): boolean {
  const armed = parseCrashPointSpec(spec)
  if (armed === null) return false
  let hits = 0
  setCrashHandler((name) => {
    if (name !== armed.name) return
    hits += 1
    if (hits === armed.hit) crash(name)
  })
  return true
}
