import {
  type ClosedWindow,
  compilePattern,
  concurrencyKeyOf,
  type CursorPoint,
  type WindowRule,
  Windows,
} from '@headrace/core'
import type { TriggerRow } from '@headrace/store'
import { refusedEntry, windowEntry } from '../start-runs/flush-entry.ts'
import { Follower, type LaneEntry, type NewFollower, NOTHING } from './follower.ts'
import { type LaneEvent, type LaneRecord, toLaneEvent, toRecordWireEvent } from './lane-record.ts'
import type { TriggerExpressions } from './trigger-expressions.ts'

type EventRecord = Extract<LaneRecord, { kind: 'event' }>

const NO_WINDOW_KEY = { kind: 'key', key: null } as const

/** A trigger of a workflow on one partition, and its open windows. What it closes is a window that becomes a run. */
export class TriggerFollower extends Follower {
  declare trigger: TriggerRow
  override readonly holdsLane = true
  readonly #matches: (topic: string) => boolean
  readonly #expressions: TriggerExpressions
  readonly #windows: Windows<LaneEvent>
  readonly #onPassedOver: NewTriggerFollower['onPassedOver']
  /** What lies before was scanned by somebody before, and counted. */
  readonly #countFrom: number

  constructor({ expressions, onPassedOver, ...given }: NewTriggerFollower) {
    super(given)
    const { nextOffset, done, lastOffset } = given.cursor
    this.#matches = compilePattern(given.trigger.pattern)
    this.#expressions = expressions
    this.#windows = new Windows(ruleOf(given.trigger), { nextOffset, done, lastOffset })
    this.#onPassedOver = onPassedOver
    this.#countFrom = (lastOffset ?? -1) + 1
  }

  override get openWindows(): number {
    return this.#windows.openWindows
  }

  /** What is in its open windows. */
  get held(): { events: number; sinceMs: number | null } {
    return this.#windows.held
  }

  override get cursor(): CursorPoint {
    return this.#windows.cursor(this.scanned)
  }

  /** Of the runs that it starts. */
  get tags(): Record<string, string> {
    return {}
  }

  /** No record comes any more: what is open closes. */
  end(): readonly LaneEntry[] {
    return this.#entries(this.#windows.closeAll(this.scanned))
  }

  protected override letGo(): void {
    this.#windows.clear()
  }

  protected override take(record: LaneRecord): readonly LaneEntry[] {
    if (record.kind === 'event' && this.#matches(record.event.topic)) return this.#takeEvent(record)
    if (record.kind === 'repeat' && this.#matches(record.topic)) this.#passOver('repeat', record.seen.offset)
    return this.#pass(record)
  }

  protected override passed(): readonly LaneEntry[] {
    return NOTHING
  }

  /** The wall clock decides. */
  protected override headAt(position: number, nowMs: number): readonly LaneEntry[] {
    return this.#entries(this.#windows.onHead({ position, nowMs }))
  }

  #takeEvent(record: EventRecord): readonly LaneEntry[] {
    const { filter, key, concurrencyKey } = this.#expressions
    const { offset } = record.seen
    if (this.#windows.isSettled(offset)) return this.#pass(record)
    if (filter !== null) {
      const answer = filter.ask(toRecordWireEvent(record))
      if (answer.kind === 'failed') return this.#refuse(record, 'filter_error', `if: ${answer.reason}`)
      if (answer.kind !== 'passes') {
        this.#passOver('filtered', offset)
        return this.#pass(record)
      }
    }
    const answer = key === null ? NO_WINDOW_KEY : key.of(toRecordWireEvent(record))
    if (answer.kind === 'failed') return this.#refuse(record, 'key_error', `key: ${answer.reason}`)
    if (concurrencyKey === null) return this.#entries(this.#windows.onEvent(toLaneEvent(record), answer.key))
    const share = concurrencyKeyOf(concurrencyKey, toRecordWireEvent(record))
    if (share.kind === 'failed') return this.#refuse(record, 'key_error', `concurrency.key: ${share.reason}`)
    const event = { ...toLaneEvent(record), concurrencyKey: share.key }
    return this.#entries(this.#windows.onEvent(event, answer.key))
  }

  #pass({ seen }: LaneRecord): readonly LaneEntry[] {
    return this.#entries(this.#windows.onPassed(seen))
  }

  #passOver(why: 'repeat' | 'filtered', offset: number): void {
    if (offset >= this.#countFrom) this.#onPassedOver(why)
  }

  /** Set aside before the cursor passes it; the trigger's other events go on (P6). */
  #refuse(record: EventRecord, reason: string, detail: string): readonly LaneEntry[] {
    const { before, cursor, after } = this.#windows.onRefused(record.seen)
    const entries = [...this.#entries(before)]
    if (cursor !== null)
      entries.push(refusedEntry({ follower: this, event: toLaneEvent(record), cursor, reason, detail }))
    return [...entries, ...this.#entries(after)]
  }

  #entries(closed: readonly ClosedWindow<LaneEvent>[]): readonly LaneEntry[] {
    return closed.length === 0 ? NOTHING : closed.map((window) => windowEntry(this, window))
  }
}

export interface NewTriggerFollower extends NewFollower {
  trigger: TriggerRow
  expressions: TriggerExpressions
  /** An event that its pattern matches was passed over, for the first time. */
  onPassedOver: (why: 'repeat' | 'filtered') => void
}

function ruleOf({ windowSize, windowTimeoutMs, windowMaxBytes }: TriggerRow): WindowRule {
  return { size: windowSize, timeoutMs: windowTimeoutMs, bytesMax: windowMaxBytes }
}
