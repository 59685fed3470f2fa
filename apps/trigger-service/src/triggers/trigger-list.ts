import { codeOf, createDuty, type Duty, type Clock, type Logger, type Metrics } from '@headrace/service'
import type { TriggerRow } from '@headrace/store'

/** How late a new, changed, paused or resumed trigger may be seen. One short query. */
const POLL_EVERY_MS = 500

export interface TriggerListParts {
  list: () => Promise<TriggerRow[]>
  /** The list was read; `changed` when anything in it differs from the reading before. */
  onRead: (changed: boolean) => void
  /** It could not be read; the duty tries again. */
  onFailed: (detail: string) => void
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** The triggers as last read. A poll that fails changes nothing: lanes go on by what is known, the fence watches. */
export class TriggerList {
  readonly duty: Duty
  #rows: readonly TriggerRow[] = []
  #byStream = new Map<string, TriggerRow[]>()
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

  /** Streams that have a trigger, also a paused one: resuming it must not cost the group a rebalance. */
  get streams(): string[] {
    return [...this.#byStream.keys()].sort()
  }

  get all(): readonly TriggerRow[] {
    return this.#rows
  }

  /** The triggers of a stream that are to be followed. */
  live(stream: string): readonly TriggerRow[] {
    return (this.#byStream.get(stream) ?? []).filter(({ status }) => status === 'live')
  }

  #take(rows: readonly TriggerRow[]): boolean {
    const fingerprint = JSON.stringify(rows)
    if (fingerprint === this.#fingerprint) return false
    this.#fingerprint = fingerprint
    this.#rows = rows
    this.#byStream = new Map()
    for (const row of rows) {
      if (row.status === 'retired') continue
      const group = this.#byStream.get(row.stream)
      if (group === undefined) this.#byStream.set(row.stream, [row])
      else group.push(row)
    }
    return true
  }
}
