import { codeOf, createDuty, type Duty, type Clock, type Logger, type Metrics } from '@headrace/service'
import type { StreamBinding } from '@headrace/schemas'
import type { TriggerRow, WaitedStream } from '@headrace/store'
import { type LaneTrigger, projectionOf } from './lane-trigger.ts'

/** How late a new, changed, paused or resumed trigger may be seen. One short query. */
const POLL_EVERY_MS = 500

/** Who wants a stream's events. */
export interface Listed {
  readonly triggers: readonly TriggerRow[]
  readonly waited: readonly WaitedStream[]
  readonly bindings: readonly StreamBinding[]
}

export interface TriggerListParts {
  list: () => Promise<Listed>
  /** The list was read; `changed` when anything in it differs from the reading before. */
  onRead: (changed: boolean) => void
  /** It could not be read; the duty tries again. */
  onFailed: (detail: string) => void
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** The triggers and waited streams as last read. A poll that fails changes nothing: lanes go on by what is known, the fence watches. */
export class TriggerList {
  readonly duty: Duty
  #rows: readonly TriggerRow[] = []
  #bindings: readonly StreamBinding[] = []
  #byStream = new Map<string, LaneTrigger[]>()
  #fingerprint: string | null = null

  constructor({ list, onRead, onFailed, log, clock, metrics }: TriggerListParts) {
    this.duty = createDuty({
      name: 'trigger-service.triggers',
      everyMs: POLL_EVERY_MS,
      log,
      clock,
      metrics,
      runOnce: async () => {
        try {
          onRead(this.#take(await list()))
        } catch (error) {
          onFailed(`triggers could not be read: ${codeOf(error)}`)
          throw error
        }
      },
    })
  }

  /** Streams that are waited on or have a trigger, also a paused one: resuming it must not cost the group a rebalance. */
  get streams(): string[] {
    return [...this.#byStream.keys()].sort()
  }

  get all(): readonly TriggerRow[] {
    return this.#rows
  }

  /** The external streams. */
  get bindings(): readonly StreamBinding[] {
    return this.#bindings
  }

  /** The triggers of a stream that are to be followed, and its projection. */
  live(stream: string): readonly LaneTrigger[] {
    return (this.#byStream.get(stream) ?? []).filter(
      (trigger) => !('status' in trigger) || (trigger.status === 'live' && !trigger.backpressured),
    )
  }

  /** A trigger of a stream that is to be followed now; null: there is none of this id. */
  followed(stream: string, id: string): TriggerRow | null {
    return (
      this.live(stream).find((trigger): trigger is TriggerRow => 'status' in trigger && trigger.id === id) ??
      null
    )
  }

  #take(listed: Listed): boolean {
    const fingerprint = JSON.stringify(listed)
    if (fingerprint === this.#fingerprint) return false
    this.#fingerprint = fingerprint
    this.#rows = listed.triggers
    this.#bindings = listed.bindings
    this.#byStream = new Map()
    const followed = listed.triggers.filter(({ status }) => status !== 'retired')
    for (const trigger of [...followed, ...listed.waited.map(projectionOf)]) {
      const group = this.#byStream.get(trigger.stream)
      if (group === undefined) this.#byStream.set(trigger.stream, [trigger])
      else group.push(trigger)
    }
    return true
  }
}
