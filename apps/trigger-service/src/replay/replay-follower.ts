import { limits } from '@headrace/schemas'
import {
  type ReplayCounts,
  replayCursorId,
  replayVersion,
  type RunningReplay,
  type TriggerRow,
} from '@headrace/store'
import type { LaneEntry } from '../lanes/follower.ts'
import { TriggerFollower } from '../lanes/trigger-follower.ts'
import type { TriggerExpressions } from '../lanes/trigger-expressions.ts'

/** Names the replay that a run was started by. */
const REPLAY_TAG = 'headrace.replay'

/**
 * A trigger on one range of its past: what it closes are runs of the trigger, and what moves with them is a cursor of the
 * replay's own.
 */
export class ReplayFollower extends TriggerFollower {
  readonly #cursorOf: { id: string; version: number }
  readonly #tags: Record<string, string>

  constructor({ replay, ...given }: NewReplayFollower) {
    super({ ...given, cursor: replay.cursor })
    this.#cursorOf = { id: replayCursorId(replay.triggerId, replay.id), version: replayVersion }
    this.#tags = { [REPLAY_TAG]: replay.id }
  }

  override get cursorOf(): { id: string; version: number } {
    return this.#cursorOf
  }

  override get tags(): Record<string, string> {
    return this.#tags
  }
}

interface NewReplayFollower {
  trigger: TriggerRow
  expressions: TriggerExpressions
  replay: RunningReplay
  onPassedOver: (why: 'repeat' | 'filtered') => void
}

/** What a dry run counts of what would be stored, by the rules of who stores it. */
export class Tally {
  readonly counts: ReplayCounts = { windows: 0, events: 0, filtered: 0, repeats: 0, deadLetters: 0 }

  readonly passedOver = (why: 'repeat' | 'filtered'): void => {
    if (why === 'repeat') this.counts.repeats += 1
    else this.counts.filtered += 1
  }

  take(entries: readonly LaneEntry[]): void {
    for (const entry of entries) {
      if (entry.kind === 'refused') this.counts.deadLetters += 1
      if (entry.kind !== 'window') continue
      const { events, bytes } = entry.closed
      if (bytes > limits.windowBytesMax) this.counts.deadLetters += events.length
      else {
        this.counts.windows += 1
        this.counts.events += events.length
      }
    }
  }
}
