import {
  enterEventIds,
  type EventIdEntry,
  type EventPosition,
  incarnationsOf,
  isolate,
  recalledEventIds,
  recordRepeats,
  type RepeatDecision,
  repeatsAt,
  type Store,
  sweptEventIds,
  type SweptTo,
} from '@headrace/store'

/** What recognising repeats needs of Postgres. */
export interface EventIdStore {
  /** For each the position that stands under its id, its own or another's; why, where Postgres cannot hold the id. */
  enter(entries: readonly EventIdEntry[]): Promise<(EventPosition | Error)[]>
  /** Keeps that these events were passed over. */
  recordRepeats(repeats: readonly RepeatDecision[]): Promise<void>
  /** For each where its id was seen first, as it was decided when it was passed over; null: it was not, or that is forgotten. */
  decided(entries: readonly EventIdEntry[]): Promise<(EventPosition | null)[]>
  /** How far the stream's ids were swept, once no sweep is under way. */
  swept(stream: string): Promise<SweptTo>
  /** All ids from `fromMs` on are entered again. False when something was swept since `revision`. */
  recalled(what: { stream: string; revision: number; fromMs: number }): Promise<boolean>
  incarnations(stream: string): Promise<Map<number, number>>
}

export function createEventIdStore(store: Store): EventIdStore {
  return {
    enter: async (entries) => {
      const { ok, bad } = await isolate([...entries], async (part) => await enterEventIds(store, part))
      const answers = new Map<EventIdEntry, EventPosition | Error>()
      for (const { items, result } of ok)
        for (const [index, item] of items.entries()) answers.set(item, result[index] ?? unanswered())
      for (const { item, error } of bad) answers.set(item, error)
      return entries.map((entry) => answers.get(entry) ?? unanswered())
    },
    recordRepeats: async (repeats) => await recordRepeats(store, repeats),
    decided: async (entries) => await repeatsAt(store, entries),
    swept: async (stream) => await sweptEventIds(store, stream),
    recalled: async (what) => await recalledEventIds(store, what),
    incarnations: async (stream) => await incarnationsOf(store, stream),
  }
}

function unanswered(): never {
  throw new Error('an event id was entered and not answered')
}
