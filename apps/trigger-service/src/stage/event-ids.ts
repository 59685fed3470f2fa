import {
  type EventIdEntry,
  type EventPosition,
  isAt,
  type RepeatDecision,
  type SweptTo,
} from '@headrace/store'
import type { EventIdStore } from '../repeats/event-id-store.ts'

/** The rules of the statements on `event_ids` in memory: the first to enter an id has it. */
export class FakeEventIds implements EventIdStore {
  readonly rows = new Map<string, EventIdEntry>()
  sweptToMs = 0
  revision = 0
  /** Times that ids were given to enter. */
  entered = 0
  /** What was passed over. */
  readonly repeats: RepeatDecision[] = []
  /** Thrown by as many of the next records as there are. */
  readonly recordFaults: Error[] = []
  /** Thrown by as many of the next asks as there are. */
  readonly faults: Error[] = []
  /** Ids that Postgres cannot hold. */
  refuses: (entry: EventIdEntry) => boolean = () => false

  enter(entries: readonly EventIdEntry[]): Promise<(EventPosition | Error)[]> {
    this.entered += 1
    const fault = this.faults.shift()
    if (fault !== undefined) return Promise.reject(fault)
    return Promise.resolve(
      entries.map((entry) => {
        if (this.refuses(entry)) return new Error('refused')
        const first = this.rows.get(nameOf(entry)) ?? entry
        this.rows.set(nameOf(entry), first)
        return first
      }),
    )
  }

  recordRepeats(repeats: readonly RepeatDecision[]): Promise<void> {
    const fault = this.recordFaults.shift()
    if (fault !== undefined) return Promise.reject(fault)
    this.repeats.push(...repeats)
    return Promise.resolve()
  }

  decided(entries: readonly EventIdEntry[]): Promise<(EventPosition | null)[]> {
    return Promise.resolve(
      entries.map((entry) => {
        const decision = this.repeats.find((one) => isAt(one, entry))
        return decision === undefined ? null : decision.first
      }),
    )
  }

  /** Forgets what is older, as the sweep does. */
  sweep(olderThanMs: number): void {
    for (const [name, { logTimeMs }] of this.rows) if (logTimeMs < olderThanMs) this.rows.delete(name)
    this.sweptToMs = Math.max(this.sweptToMs, olderThanMs)
    this.revision += 1
  }

  swept(): Promise<SweptTo> {
    return Promise.resolve({ sweptToMs: this.sweptToMs, revision: this.revision })
  }

  recalled({ revision, fromMs }: { revision: number; fromMs: number }): Promise<boolean> {
    if (revision !== this.revision) return Promise.resolve(false)
    this.sweptToMs = Math.min(this.sweptToMs, fromMs)
    this.revision += 1
    return Promise.resolve(true)
  }

  incarnations(): Promise<Map<number, number>> {
    return Promise.resolve(new Map())
  }
}

const nameOf = ({ stream, source, id }: EventIdEntry): string => JSON.stringify([stream, source, id])
