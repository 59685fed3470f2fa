import { compileCancelFilter, toWireEvent } from '@headrace/core'
import type { WireEvent } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { Stretch } from '../stretch.ts'
import { type EventPlace, lookAbove, mayAnswer } from '../wait-candidate.ts'
import type { ResponseInHand } from './answer-from-responses.ts'
import type { EndedRun } from './apply-commands.ts'
import { cancelByEvents } from './cancel-by-events.ts'
import { type OpenCancel, readCancels } from './cancel-terms.ts'
import { markChecked } from './checked-waits.ts'
import { readResponsePages, readResponsePlaces, type StoredResponse } from './response-pages.ts'
import { refText, type WaitRef } from './wait-ref.ts'

/** Whether an event passes a rule's `if`, of the run of which `firstEvent` was kept (JSON text); must not throw. */
export type CancelMatch = (filter: string, event: WireEvent, firstEvent: string | null) => boolean

/** Waits that one look takes: some statements of as many rows, and 8 MB of what is kept of first events at the most. */
const refsMax = 500
/** Events of a page, which is tried on all the waits of its topic. */
const rowsMax = 200
/** Of one page, beyond its first event. */
const pageBytesMax = 1024 * 1024

/**
 * Cancels the runs of those waits that one of these responses answers; they were committed just now. Which of several
 * events it was makes no difference to a run, so unlike other waits these need not know of what came before.
 */
export async function cancelByResponses(
  store: Store,
  refs: readonly WaitRef[],
  matches: CancelMatch,
  inHand: readonly ResponseInHand[],
): Promise<EndedRun[]> {
  const places = inHand.map(({ event, incarnation }): TriedEvent => ({
    incarnation,
    partition: event.partition,
    sequenceId: event.sequenceId,
    logTimeMs: event.createdAt,
    event: toWireEvent(event),
  }))
  const byTopic = Map.groupBy(places, ({ event }) => event?.topic ?? '')
  return await inParts(refs, async (part) => {
    const waits = await readCancels(store, part)
    const found = new Found(matches)
    for (const [topic, group] of waitsByTopic(waits)) await found.tryOn(group, byTopic.get(topic) ?? [])
    return await cancelByEvents(store, found.answers(waits))
  })
}

/**
 * Cancels the runs of those waits that something answers which was stored before they were there. The responses of a
 * topic are read once for all its waits, from the earliest that one of them asks for. Those that stay open are marked as checked.
 */
export async function cancelFromResponses(
  store: Store,
  refs: readonly WaitRef[],
  matches: CancelMatch,
): Promise<EndedRun[]> {
  return await inParts(refs, async (part) => {
    const waits = await readCancels(store, part)
    const found = new Found(matches)
    for (const [topic, group] of waitsByTopic(waits)) await readTopic(store, topic, group, found)
    const ended = await cancelByEvents(store, found.answers(waits))
    // Also those whose run had ended by something else: they stay open until they are swept, and would be looked for till then.
    await markChecked(
      store,
      waits.filter(({ checked }) => !checked).map(({ ref }) => ref),
    )
    return ended
  })
}

async function inParts(
  refs: readonly WaitRef[],
  work: (part: readonly WaitRef[]) => Promise<EndedRun[]>,
): Promise<EndedRun[]> {
  const ended: EndedRun[] = []
  for (let from = 0; from < refs.length; from += refsMax)
    ended.push(...(await work(refs.slice(from, from + refsMax))))
  return ended
}

const waitsByTopic = (waits: readonly OpenCancel[]): Map<string, OpenCancel[]> =>
  Map.groupBy(waits, ({ terms }) => terms.topic)

async function readTopic(store: Store, topic: string, waits: OpenCancel[], found: Found): Promise<void> {
  const sinceMs = waits.reduce((least, { terms }) => Math.min(least, terms.sinceMs), Infinity)
  const withData = waits.some(({ filter }) => filter !== null)
  for (const place of await readResponsePlaces(store, [{ topic, sinceMs }])) {
    let above = waits.reduce((least, { terms }) => Math.min(least, lookAbove(terms, place)), Infinity)
    for (;;) {
      const request = { ...place, above, sinceMs, never: null, rowsMax, withData }
      const [page] = await readResponsePages(store, [request], { dataBytesMax: pageBytesMax })
      const last = page?.responses.at(-1)
      if (page === undefined || last === undefined) break
      await found.tryOn(waits, page.responses)
      if (page.last || found.hasAll(waits)) break
      above = last.sequenceId
    }
  }
}

type TriedEvent = StoredResponse

/** What was found for some waits. */
class Found {
  readonly #matches: CancelMatch
  readonly #places = new Map<string, EventPlace>()
  readonly #stretch = new Stretch()

  constructor(matches: CancelMatch) {
    this.#matches = matches
  }

  /** Events of the topic of these waits. */
  async tryOn(waits: readonly OpenCancel[], events: readonly TriedEvent[]): Promise<void> {
    const lookUp = new EventsByKey(events)
    for (const wait of waits) {
      if (this.#places.has(refText(wait.ref))) continue
      for (const event of lookUp.of(wait)) {
        if (!mayAnswer(wait.terms, event) || !(await this.#passes(wait, event))) continue
        const { incarnation, partition, sequenceId, logTimeMs } = event
        this.#places.set(refText(wait.ref), { incarnation, partition, sequenceId, logTimeMs })
        break
      }
    }
  }

  hasAll(waits: readonly OpenCancel[]): boolean {
    return waits.every(({ ref }) => this.#places.has(refText(ref)))
  }

  answers(waits: readonly OpenCancel[]): (WaitRef & { place: EventPlace })[] {
    return waits.flatMap(({ ref }) => {
      const place = this.#places.get(refText(ref))
      return place === undefined ? [] : [{ ...ref, place }]
    })
  }

  async #passes({ filter, firstEvent }: OpenCancel, { event }: TriedEvent): Promise<boolean> {
    await this.#stretch.end()
    if (filter === null) return true
    return event !== null && this.#matches(filter, event, firstEvent)
  }
}

/**
 * Some events, by what the `if` of a wait has to find in them: a thousand events on ten thousand runs are then a look-up
 * for each run, and not ten million evaluations.
 */
class EventsByKey {
  readonly #events: readonly TriedEvent[]
  readonly #byFilter = new Map<string, Map<string | null, TriedEvent[]>>()

  constructor(events: readonly TriedEvent[]) {
    this.#events = events
  }

  /** Those that may answer a wait, as far as their key tells. */
  of({ filter, firstEvent }: OpenCancel): readonly TriedEvent[] {
    if (filter === null) return this.#events
    const compiled = compileCancelFilter(filter)
    if (compiled.kind === 'invalid') return []
    const key = compiled.keyOfRun(firstEvent)
    if (key === null) return this.#events
    let byKey = this.#byFilter.get(filter)
    if (byKey === undefined) {
      byKey = Map.groupBy(this.#events, ({ event }) => (event === null ? null : compiled.keyOfEvent(event)))
      this.#byFilter.set(filter, byKey)
    }
    return [...(byKey.get(key) ?? []), ...(byKey.get(null) ?? [])]
  }
}
