import { limits } from '@headrace/schemas'
import { isolate } from '../fault.ts'
import { refText } from './wait-ref.ts'

/** Why a request for a wait, or for a child run, did nothing. */
export type NotTaken =
  /** The run is not that worker's at that epoch. */
  | { kind: 'lost' }
  /** This one alone cannot be taken; sent again it is refused again. */
  | { kind: 'refused'; code: string; detail: string }

interface Requested {
  readonly command: { readonly run_id: string; readonly key: string }
}

interface Placed<Request> {
  index: number
  request: Request
}

/**
 * Two first requests for one wait may meet, and a batch may hold one twice: the one that comes second looks again, and then
 * finds what is there.
 */
const roundsMax = 4

/**
 * Answers each request at its index. `apply` is one statement, told of each wait once, which answers a row for each whose run
 * is in its worker's hands; `outcomeOf` reads it, null where another request was first at the same moment.
 */
export async function inRounds<
  Request extends Requested,
  Row extends { run_id: string; key: string },
  Outcome,
>(
  requests: readonly Request[],
  apply: (requests: Request[]) => Promise<Row[]>,
  outcomeOf: (request: Request, row: Row) => Outcome | null,
): Promise<(Outcome | NotTaken)[]> {
  const outcomes = new Map<number, Outcome | NotTaken>()
  let open = requests.map((request, index): Placed<Request> => ({ index, request }))
  for (let round = 0; open.length > 0 && round < roundsMax; round += 1) {
    const { now, later } = eachOnce(open)
    const { ok, bad } = await isolate(now, async (part) => await apply(part.map(({ request }) => request)))
    for (const { item, error } of bad)
      outcomes.set(item.index, { kind: 'refused', code: 'invalid_field', detail: error.message })
    const again: Placed<Request>[] = []
    for (const { items, result } of ok) {
      const rows = new Map(result.map((row) => [refText({ runId: row.run_id, key: row.key }), row]))
      for (const item of items) {
        const row = rows.get(nameOf(item))
        const outcome = row ? outcomeOf(item.request, row) : ({ kind: 'lost' } as const)
        if (outcome === null) again.push(item)
        else outcomes.set(item.index, outcome)
      }
    }
    open = [...again, ...later]
  }
  return requests.map((_, index) => outcomes.get(index) ?? { kind: 'lost' })
}

const nameOf = ({ request: { command } }: Placed<Requested>): string =>
  refText({ runId: command.run_id, key: command.key })

function eachOnce<Request extends Requested>(
  items: Placed<Request>[],
): { now: Placed<Request>[]; later: Placed<Request>[] } {
  const first = new Map<string, Placed<Request>>()
  for (const item of items) if (!first.has(nameOf(item))) first.set(nameOf(item), item)
  const now = [...first.values()]
  const chosen = new Set(now)
  return { now, later: items.filter((item) => !chosen.has(item)) }
}

export const replayMismatch = (key: string, there: string, asked: string): NotTaken => ({
  kind: 'refused',
  code: 'replay_mismatch',
  detail: `under the key ${key} stands ${there}, and the code now asks for ${asked}`,
})

export const tooManyOpenWaits: NotTaken = {
  kind: 'refused',
  code: 'too_many_open_waits',
  detail: `a run has at most ${limits.openWaitsPerRunMax} open waits`,
}
