import {
  compilePattern,
  cursorOf,
  type CursorPoint,
  emptyWindow,
  onEvent,
  onHead,
  onPassed,
  type WindowRule,
  type WindowState,
  type WindowStep,
} from '@headrace/core'
import type { TriggerRow } from '@headrace/store'
import { windowEntry } from '../start-runs/flush-entry.ts'
import { Follower, type LaneEntry, type NewFollower, NOTHING } from './follower.ts'
import { type LaneEvent, type LaneRecord, toLaneEvent } from './lane-record.ts'

/** A trigger of a workflow on one partition, and its open window. What it closes is a window that becomes a run. */
export class TriggerFollower extends Follower {
  declare trigger: TriggerRow
  override readonly holdsLane = true
  readonly #matches: (topic: string) => boolean
  readonly #rule: WindowRule
  #window: WindowState<LaneEvent> = emptyWindow
  readonly #onRepeat: () => void

  constructor({ onRepeat, ...given }: NewTriggerFollower) {
    super(given)
    this.#matches = compilePattern(given.trigger.pattern)
    this.#rule = ruleOf(given.trigger)
    this.#onRepeat = onRepeat
  }

  override get openEvents(): number {
    return this.#window.kind === 'open' ? this.#window.events.length : 0
  }

  override get cursor(): CursorPoint {
    return cursorOf(this.#window, this.scanned)
  }

  protected override letGo(): void {
    this.#window = emptyWindow
  }

  protected override take(record: LaneRecord): readonly LaneEntry[] {
    if (record.kind === 'repeat' && this.#matches(record.topic)) this.#onRepeat()
    return this.#closed(
      record.kind === 'event' && this.#matches(record.event.topic)
        ? onEvent(this.#window, this.#rule, toLaneEvent(record))
        : onPassed(this.#window, record.seen),
    )
  }

  protected override passed(): readonly LaneEntry[] {
    return NOTHING
  }

  /** The wall clock decides. */
  protected override headAt(position: number, nowMs: number): readonly LaneEntry[] {
    return this.#closed(onHead(this.#window, { position, nowMs }))
  }

  #closed({ state, closed }: WindowStep<LaneEvent>): readonly LaneEntry[] {
    this.#window = state
    return closed.length === 0 ? NOTHING : closed.map((window) => windowEntry(this, window))
  }
}

export interface NewTriggerFollower extends NewFollower {
  trigger: TriggerRow
  /** An event that it would match was passed over as a repeat. */
  onRepeat: () => void
}

function ruleOf({ windowSize, windowTimeoutMs, windowMaxBytes }: TriggerRow): WindowRule {
  return { size: windowSize, timeoutMs: windowTimeoutMs, bytesMax: windowMaxBytes }
}
