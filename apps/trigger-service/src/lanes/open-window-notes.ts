import type { OpenWindowNote } from '@headrace/store'
import type { Follower } from './follower.ts'
import type { Lane } from './lane.ts'
import { TriggerFollower } from './trigger-follower.ts'

/**
 * Tells Postgres what is in open windows, for the API: nobody else knows before they close. Only what changed since it was
 * told last, and nothing of a follower whose cursor is about to move.
 */
export class OpenWindowNotes {
  readonly #told = new WeakMap<Follower, string>()
  readonly #store: (notes: readonly OpenWindowNote[]) => Promise<void>

  constructor(store: (notes: readonly OpenWindowNote[]) => Promise<void>) {
    this.#store = store
  }

  async tell(lanes: readonly Lane[]): Promise<void> {
    const changed = lanes
      .flatMap((lane) => [...lane.followers, ...lane.chasers])
      .flatMap((follower) => {
        if (!(follower instanceof TriggerFollower) || follower.pending.windows > 0) return []
        const note = noteOf(follower)
        const told = JSON.stringify(note)
        // Who never had an open window is not worth a row's update.
        const before = this.#told.get(follower) ?? (note.events === 0 ? told : null)
        return told === before ? [] : [{ follower, note, told }]
      })
    await this.#store(changed.map(({ note }) => note))
    for (const { follower, told } of changed) this.#told.set(follower, told)
  }
}

function noteOf(follower: TriggerFollower): OpenWindowNote {
  const { lane, stored, cursorOf } = follower
  const { events, sinceMs } = follower.held
  return { triggerId: cursorOf.id, ...lane, revision: stored.revision, events, since: sinceMs }
}
