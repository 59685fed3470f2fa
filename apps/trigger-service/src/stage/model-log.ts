import type { IncomingBatch } from '@headrace/broker'
import type { Json } from '@headrace/schemas'
import type { TriggerRow } from '@headrace/store'
import { FakeEventIds } from './event-ids.ts'
import { Harness } from './harness.ts'
import { PartitionLog } from './partition-log.ts'
import { FakePostgres, type Trouble } from './postgres.ts'

/** An event that was published. */
export interface Published {
  readonly offset: number
  readonly timestamp: number
  readonly topic: string
  readonly key: string | null
  readonly id: string | null
  readonly data: Json
}

export type Deed =
  | { do: 'append'; events: Omit<Published, 'offset' | 'timestamp'>[]; stepMs: number }
  /** A transaction that was aborted, or control records: offsets that hold nothing, more than a fetch shows. */
  | { do: 'abort'; offsets: number }
  | { do: 'garbage' }
  /** By an owner, at its own position or anywhere; so many offsets. */
  | { do: 'fetch'; owner: number; at: number | null; offsets: number }
  | { do: 'trouble'; trouble: Trouble }
  | {
      do: 'adopt' | 'head' | 'flushed' | 'progress' | 'die' | 'resize' | 'turn'
      owner: number
      pick: number
    }
  | { do: 'compact'; pick: number }
  | { do: 'retain' }

/**
 * One partition, and two instances that both think they own it: whatever one does, the other may have done, do, or be
 * in the middle of. They share the log, and what Postgres would hold.
 */
export class ModelLog {
  readonly log = new PartitionLog()
  readonly postgres = new FakePostgres()
  readonly #eventIds = new FakeEventIds()
  readonly published: Published[] = []
  readonly #owners: Harness[]
  #triggers: TriggerRow[]
  #logMs = 0

  constructor(triggers: TriggerRow[]) {
    this.#triggers = triggers
    for (const { id } of triggers) this.postgres.add({ triggerId: id, partition: 0, nextOffset: 0 })
    this.#owners = [this.#owner(), this.#owner()]
  }

  async act(deed: Deed): Promise<void> {
    switch (deed.do) {
      case 'append':
        for (const event of deed.events) this.#append(event)
        this.#logMs += deed.stepMs
        return
      case 'abort':
        this.log.high += deed.offsets
        return
      case 'garbage':
        this.log.appendGarbage({ timestamp: this.#logMs })
        return
      case 'trouble':
        this.postgres.troubles.push(deed.trouble)
        return
      case 'retain':
        // Retention takes what every cursor has passed, and less.
        this.log.low = Math.max(this.log.low, this.#lowest() - 1)
        return
      case 'fetch':
        this.#fetch(deed)
        return
      case 'compact':
        this.#compact(deed.pick)
        return
      case 'adopt':
      case 'flushed':
      case 'progress':
      case 'turn':
      case 'head':
      case 'die':
      case 'resize':
        await this.#byOwner(deed)
    }
  }

  /** Everything that is there is read and, by the clock, closed. */
  async settle(): Promise<void> {
    this.postgres.troubles.length = 0
    for (const owner of this.#owners) await owner.settle()
    for (const owner of this.#owners) {
      owner.nowMs = this.#logMs + 1_000_000
      await owner.settle()
    }
  }

  /** The offsets of each window of a trigger, in the order in which they were stored. */
  windows(trigger: string): number[][] {
    return this.postgres.windows(trigger)
  }

  /** Events of which a trigger has a dead letter. */
  refused(trigger: string): Set<number> {
    const letters = this.#owners.flatMap((owner) => owner.letters)
    return new Set(letters.filter(({ triggerId }) => triggerId === trigger).map(({ offset }) => offset))
  }

  async end(): Promise<void> {
    for (const owner of this.#owners) await owner.revoke()
  }

  #owner(letters: Harness['letters'] = []): Harness {
    const { log, postgres } = this
    const owner = new Harness({ triggers: this.#triggers, log, postgres, eventIds: this.#eventIds })
    owner.letters.push(...letters)
    return owner
  }

  #append(event: Omit<Published, 'offset' | 'timestamp'>): void {
    const { topic, key, id, data } = event
    const timestamp = this.#logMs
    const offset = this.log.append({ topic, key, data, timestamp, ...(id === null ? {} : { id }) })
    this.published.push({ ...event, offset, timestamp })
  }

  #lowest(): number {
    return Math.min(...[...this.postgres.cursors.values()].map(({ nextOffset }) => nextOffset))
  }

  /** A fetch shows the records of a stretch of offsets; there may be none. */
  #fetch({ owner: index, at, offsets }: Extract<Deed, { do: 'fetch' }>): void {
    const owner = this.#owners[index]
    if (owner === undefined || owner.lane.isFull()) return
    const from = Math.max(this.log.low, Math.min(at ?? owner.lane.position, this.log.high))
    const to = Math.min(from + offsets, this.log.high)
    if (to > from) owner.lane.push(this.#batch(from, to))
  }

  #batch(from: number, to: number): IncomingBatch {
    const { log } = this
    return {
      topic: log.topic,
      partition: log.partition,
      fetchedOffset: from,
      nextOffset: to,
      records: log.records.filter(({ offset }) => offset >= from && offset < to),
      highWatermark: log.high,
      lowWatermark: log.low,
      fetchedAt: 0,
    }
  }

  /** Takes one event out; one with an id of its own stays, because which of its copies counts is told by them all. */
  #compact(pick: number): void {
    const unmarked = this.published.filter(({ id }) => id === null)
    const gone = unmarked[pick % Math.max(1, unmarked.length)]
    const at = this.log.records.findIndex(({ offset }) => offset === gone?.offset)
    if (at >= 0) this.log.records.splice(at, 1)
  }

  async #byOwner({
    do: what,
    owner: index,
    pick,
  }: Extract<Deed, { owner: number; pick: number }>): Promise<void> {
    const owner = this.#owners[index]
    if (owner === undefined) return
    if (what === 'adopt') await owner.adopt()
    else if (what === 'flushed') await owner.flusher.drained()
    else if (what === 'progress') owner.lane.writeProgress()
    else if (what === 'turn') await owner.turn()
    else if (what === 'head') {
      owner.nowMs = Math.max(owner.nowMs, this.#logMs)
      owner.fetch(1_000)
    } else if (what === 'die') {
      await owner.revoke()
      this.#owners[index] = this.#owner(owner.letters)
    } else this.#resize(pick)
  }

  /** Another size of the windows that time closes too: what is open is built again under it. */
  #resize(pick: number): void {
    const windowSize = 1 + (pick % 5)
    this.#triggers = this.#triggers.map((one) =>
      one.windowTimeoutMs === null ? one : { ...one, version: one.version + 1, windowSize },
    )
    const versions = new Map(this.#triggers.map(({ id, version }) => [id, version]))
    for (const row of this.postgres.cursors.values()) {
      const version = versions.get(row.triggerId) ?? row.version
      if (version !== row.version) this.postgres.add({ ...row, version, revision: row.revision + 1 })
    }
    for (const owner of this.#owners) {
      owner.triggers = this.#triggers
      owner.lanes.reconcile()
    }
  }
}
