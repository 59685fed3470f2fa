import { partitionKey } from '@headrace/broker'
import type { LaneTrigger } from '../triggers/lane-trigger.ts'
import { Lane, type LaneParts } from './lane.ts'

/** What all lanes of an instance may hold; each has an equal share, so that a stuck one takes nothing from the others. */
const LANES_BYTES_MAX = 256 * 1024 * 1024
/** More gains nothing: it is several fetches ahead. */
const LANE_BYTES_MAX = 4 * 1024 * 1024
/** Of a lane's three shares, see {@link LaneParts.bytesMax}. */
const SHARES = 3

/** The lanes this instance owns now, and what of them is to be read (again). */
export class LaneSet {
  readonly #lanes = new Map<string, Lane>()
  readonly #parts: LaneParts
  readonly #live: (stream: string) => readonly LaneTrigger[]

  constructor(parts: Omit<LaneParts, 'bytesMax'>, live: (stream: string) => readonly LaneTrigger[]) {
    this.#parts = { ...parts, bytesMax: () => this.#share() }
    this.#live = live
  }

  get all(): Lane[] {
    return [...this.#lanes.values()]
  }

  /** Makes the lane of a partition that was assigned. It leaves the set when it is revoked. */
  add(assigned: Pick<Lane, 'topic' | 'stream' | 'partition' | 'signal'>): Lane {
    const lane = new Lane(assigned, this.#parts)
    const key = partitionKey(lane.topic, lane.partition)
    this.#lanes.set(key, lane)
    const remove = () => {
      if (this.#lanes.get(key) === lane) this.#lanes.delete(key)
    }
    lane.signal.addEventListener('abort', remove, { once: true })
    this.#parts.onOrphans()
    return lane
  }

  /** Live triggers of the lane's stream that it neither has nor is to leave alone for now. */
  orphansOf(lane: Lane): LaneTrigger[] {
    if (!this.#holdsStream(lane)) return []
    return this.#live(lane.stream).filter(({ id }) => !lane.has(id))
  }

  /**
   * Lets go of followers whose trigger is no longer live, or works by another definition: what they hold open is built
   * again from the cursor. One that only got another build goes on with it.
   */
  reconcile(): void {
    for (const lane of this.all) {
      const triggers = this.#holdsStream(lane) ? this.#live(lane.stream) : []
      const live = new Map(triggers.map((trigger) => [trigger.id, trigger]))
      for (const follower of [...lane.followers, ...lane.chasers]) {
        const trigger = live.get(follower.trigger.id)
        if (trigger?.version === follower.trigger.version) follower.trigger = trigger
        else follower.drop()
      }
    }
    this.#parts.onOrphans()
  }

  /** False for a topic that its stream is not bound to any more: the lane is about to be revoked. */
  #holdsStream({ stream, topic }: Lane): boolean {
    return this.#parts.streams.topicOf(stream) === topic
  }

  #share(): number {
    return Math.min(LANE_BYTES_MAX, LANES_BYTES_MAX / SHARES / Math.max(1, this.#lanes.size))
  }
}
