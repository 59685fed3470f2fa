import { toWireEvent } from '@headrace/core'
import type { EventRecord, WireEvent } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { Stretch } from '../stretch.ts'
import { type EventPlace, firstOf, lookAbove, mayAnswer, neverOn } from '../wait-candidate.ts'
import { type Answered, answerWaits, type WaitAnswer } from './answer-waits.ts'
import { markChecked } from './checked-waits.ts'
import { type OpenEventWait, readOpenWaits } from './open-wait-terms.ts'
import {
  type PageRequest,
  readLatestResponses,
  readResponsePages,
  readResponsePlaces,
  type ResponsePlace,
  type StoredResponse,
} from './response-pages.ts'
import { refText, type WaitRef } from './wait-ref.ts'

/** Whether an event passes a wait's filter. Asked in the process, page by page; must not throw. */
export type FilterMatch = (filter: string, event: WireEvent) => boolean

/** A response as it was read from its topic. */
export interface ResponseInHand {
  readonly event: EventRecord
  readonly incarnation: number
}

/** Waits that one look takes: some statements of as many rows. */
const refsMax = 500
/** Events that a filter is tried on between two statements, of one wait on one partition. */
const filteredRowsMax = 200
/** Pages with payloads that are in memory at a time, and how large each is beyond its first event (at most 2 MiB). */
const filteredPagesMax = 8
const filteredPageBytesMax = 1024 * 1024

/**
 * Answers each open event wait among `refs` with the first event on `responses` that it takes (see wait-candidate.ts), if
 * there is one. What a wait does for itself once it is committed and open, and what is done for it when its topic's
 * responses came; the same, so that a wait gets the first whoever is faster. Waits that found nothing are marked as checked.
 *
 * `inHand`: responses of these waits' topics, committed just now. A wait that has looked for itself looks at those alone:
 * what was committed before it looked it has tried, and what came since brought itself. Without that, each new event of a
 * busy topic would have every wait on it try its filter on all the others again. A wait that has not looked has to read
 * when it takes one of them, since an earlier event may be there that it has not tried, and that is the one to answer; when
 * its filter lets none of them pass it is left to its own look, behind which nobody else's answer then has to stand.
 */
export async function answerFromResponses(
  store: Store,
  refs: readonly WaitRef[],
  matches: FilterMatch,
  inHand: readonly ResponseInHand[] | null = null,
): Promise<Answered> {
  const outcome: Answered = { answers: [], queued: [] }
  const handful = inHand && byTopic(inHand)
  for (let from = 0; from < refs.length; from += refsMax) {
    const part = refs.slice(from, from + refsMax)
    const waits = await readOpenWaits(store, part)
    const found = new Looks(waits, matches)
    if (handful) await found.tryInHand(handful)
    await found.read(store)
    const { answers, queued } = await answerWaits(store, found.answers())
    outcome.answers.push(...answers)
    outcome.queued.push(...queued)
    await markChecked(store, found.withoutAnswer())
  }
  return outcome
}

interface InHand extends EventPlace {
  event: WireEvent
}

function byTopic(responses: readonly ResponseInHand[]): Map<string, InHand[]> {
  const places = responses.map(({ event, incarnation }): InHand => ({
    incarnation,
    partition: event.partition,
    sequenceId: event.sequenceId,
    logTimeMs: event.createdAt,
    event: toWireEvent(event),
  }))
  return Map.groupBy(places, ({ event }) => event.topic)
}

/** One partition on which a wait has still to look, from above an offset on. */
interface Look {
  wait: OpenEventWait
  request: PageRequest
}

/** The looks of some waits: each wait's on each partition of its topic, until it meets an event that passes. */
class Looks {
  readonly #waits: OpenEventWait[]
  readonly #matches: FilterMatch
  /** What passes, at most one of a partition and of each other source, by wait. */
  readonly #passed = new Map<string, EventPlace[]>()
  /** Waits that tried what is in hand, and need not read; those that have not looked have not done so now either. */
  readonly #tried = new Set<OpenEventWait>()
  readonly #stretch = new Stretch()

  constructor(waits: OpenEventWait[], matches: FilterMatch) {
    this.#waits = waits
    this.#matches = matches
  }

  async tryInHand(handful: Map<string, InHand[]>): Promise<void> {
    for (const wait of this.#waits) {
      const { filter, checked, terms } = wait
      if (filter === null && !checked) continue
      const passing: InHand[] = []
      for (const place of handful.get(terms.topic) ?? [])
        if (mayAnswer(terms, place) && (filter === null || (await this.#passes(wait, place))))
          passing.push(place)
      const first = firstOf(passing)
      if (first && !checked) continue
      this.#tried.add(wait)
      if (first) this.#pass(wait, first)
    }
  }

  async read(store: Store): Promise<void> {
    const waits = this.#waits.filter((wait) => !this.#tried.has(wait))
    const places = Map.groupBy(await readResponsePlaces(store, topicsOf(waits)), ({ topic }) => topic)
    const looks = waits.flatMap((wait) =>
      (places.get(wait.terms.topic) ?? []).map((place) => lookOf(wait, place)),
    )
    const plain = looks.filter(({ wait }) => wait.filter === null)
    const filtered = looks.filter(({ wait }) => wait.filter !== null)
    await this.#readAll(store, plain, refsMax)
    await this.#readAll(store, filtered, filteredPagesMax)
    await this.#readLatest(
      store,
      waits.filter(({ latestSinceMs }) => latestSinceMs !== null),
    )
  }

  async #readAll(store: Store, looks: Look[], pagesMax: number): Promise<void> {
    const left = [...looks]
    while (left.length > 0) {
      const now = left.splice(0, pagesMax)
      const pages = await readResponsePages(
        store,
        now.map(({ request }) => request),
        { dataBytesMax: filteredPageBytesMax },
      )
      for (const [at, { wait, request }] of now.entries()) {
        const page = pages[at]
        const first = page && (await this.#firstPassing(wait, page.responses))
        const end = page?.responses.at(-1)
        if (first) this.#pass(wait, first)
        else if (page && end && !page.last)
          left.push({ wait, request: { ...request, above: end.sequenceId } })
      }
    }
  }

  async #readLatest(store: Store, waits: OpenEventWait[]): Promise<void> {
    const latest = await readLatestResponses(
      store,
      waits.map(({ terms, filter }) => ({ topic: terms.topic, withData: filter !== null })),
    )
    for (const [at, wait] of waits.entries()) {
      const response = latest[at]
      const terms = { ...wait.terms, sinceMs: wait.latestSinceMs ?? wait.terms.sinceMs }
      if (response && mayAnswer(terms, response) && (await this.#passes(wait, response)))
        this.#pass(wait, response)
    }
  }

  async #firstPassing(wait: OpenEventWait, responses: StoredResponse[]): Promise<StoredResponse | null> {
    for (const response of responses) if (await this.#passes(wait, response)) return response
    return null
  }

  async #passes({ filter }: OpenEventWait, { event }: StoredResponse): Promise<boolean> {
    if (filter === null) return true
    if (event === null) return false
    await this.#stretch.end()
    return this.#matches(filter, event)
  }

  #pass(wait: OpenEventWait, { incarnation, partition, sequenceId, logTimeMs }: EventPlace): void {
    const passed = this.#passed.get(refText(wait.ref)) ?? []
    this.#passed.set(refText(wait.ref), [...passed, { incarnation, partition, sequenceId, logTimeMs }])
  }

  answers(): WaitAnswer[] {
    return this.#waits.flatMap(({ ref }) => {
      const first = firstOf(this.#passed.get(refText(ref)) ?? [])
      return first ? [{ ...ref, outcome: { kind: 'event', ...first } }] : []
    })
  }

  /** Those that have looked now, had not before, and found nothing. */
  withoutAnswer(): WaitRef[] {
    return this.#waits
      .filter((wait) => !wait.checked && !this.#tried.has(wait) && !this.#passed.has(refText(wait.ref)))
      .map(({ ref }) => ref)
  }
}

/** Each topic once, from the earliest time that one of its waits asks for. */
function topicsOf(waits: readonly OpenEventWait[]): { topic: string; sinceMs: number }[] {
  const since = new Map<string, number>()
  for (const { terms } of waits)
    since.set(terms.topic, Math.min(terms.sinceMs, since.get(terms.topic) ?? terms.sinceMs))
  return [...since].map(([topic, sinceMs]) => ({ topic, sinceMs }))
}

function lookOf(wait: OpenEventWait, place: ResponsePlace): Look {
  const { terms, filter } = wait
  return {
    wait,
    request: {
      ...place,
      above: lookAbove(terms, place),
      sinceMs: terms.sinceMs,
      never: neverOn(terms, place),
      rowsMax: filter === null ? 1 : filteredRowsMax,
      withData: filter !== null,
    },
  }
}
