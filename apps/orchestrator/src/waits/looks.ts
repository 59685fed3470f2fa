import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import type { WaitRef } from '@headrace/store'
import type { SelfRead } from './self-read.ts'

/**
 * Looks of single waits, beside everything else. A wait with a filter may have a day of events to try it on, which takes
 * from milliseconds to minutes: nobody else's registration, opening or sweep may stand behind that.
 *
 * L1  a wait looks once at a time, however often it is asked for
 * L2  who asks waits for a moment only: what is not found by then is found later, and answers a parked run too
 * L3  a look that fails is found by the sweep, as is one whose instance dies
 */
export interface Looks {
  /** Resolves when these waits have looked, or the moment is over. Rejects with what failed within it. */
  begin(refs: readonly WaitRef[]): Promise<void>
  /** Those of them that do not look now. */
  idle<Ref extends WaitRef>(refs: readonly Ref[]): Ref[]
}

export interface LooksOptions {
  selfRead: SelfRead
  log: Logger
  clock: Clock
}

/** Most looks take a few ms; those that take longer cost each other registration of the batch this much, once. */
export const LOOK_MOMENT_MS = 250
/** Each has one statement of some ms under way, on the four connections that commands run on as well. */
const LOOKS_MAX = 16
const SAY_EVERY_MS = 1_000

export function createLooks({ selfRead, log, clock }: LooksOptions): Looks {
  const underWay = new Map<string, Promise<void>>()
  const said = limited(log, 'wait.look_failed', SAY_EVERY_MS, clock)
  const waiting: (() => void)[] = []
  let running = 0

  async function look(ref: WaitRef): Promise<void> {
    if (running >= LOOKS_MAX) await new Promise<void>((resolve) => waiting.push(resolve))
    else running += 1
    try {
      await selfRead([ref])
    } catch (error) {
      said.warn(
        { event: 'wait.look_failed', code: codeOf(error), err: error },
        'a wait could not look for its answer; it is tried again',
      )
      throw error
    } finally {
      underWay.delete(nameOf(ref))
      // Its place goes to the next one, if there is one.
      const next = waiting.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }

  function start(ref: WaitRef): Promise<void> {
    const name = nameOf(ref)
    // L1
    const before = underWay.get(name)
    if (before !== undefined) return before
    const looking = look(ref)
    // L3: nobody may be waiting any more.
    looking.catch(() => undefined)
    underWay.set(name, looking)
    return looking
  }

  return {
    async begin(refs) {
      if (refs.length === 0) return
      const done = new AbortController()
      // L2
      const moment = clock.sleep(LOOK_MOMENT_MS, done.signal).catch(() => undefined)
      try {
        await Promise.race([Promise.all(refs.map(start)), moment])
      } finally {
        done.abort()
      }
    },
    idle: (refs) => refs.filter((ref) => !underWay.has(nameOf(ref))),
  }
}

const nameOf = ({ runId, key }: WaitRef): string => `${runId}/${key}`
