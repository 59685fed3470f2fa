import { limits, streamOf, type WaitCommand } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { isolate, withRetries } from '../fault.ts'
import { run } from '../statement.ts'
import { type RegisterRow, registerStatement } from './register-waits-statement.ts'
import { refText } from './wait-ref.ts'

/** A wait that is registered alone; one for a child run is with its child (start-children). */
export type LoneWaitCommand = WaitCommand & { wait: Exclude<WaitCommand['wait'], { kind: 'run' }> }

/** A wait as a worker's command asks for it. Its filter has been compiled: an invalid one is refused before. */
export interface WaitRequest {
  workerId: string
  command: LoneWaitCommand
}

export type WaitRegistration =
  /** It is there, now or long since. */
  | { kind: 'registered'; status: NonNullable<RegisterRow['status']> }
  /** The run is not that worker's at that epoch. */
  | { kind: 'lost' }
  /** This wait alone cannot be taken; sent again it is refused again. */
  | { kind: 'refused'; code: string; detail: string }

/**
 * Two first registrations of one wait may meet, and a batch may hold one twice: the one that comes second looks again,
 * and then finds the row.
 */
const roundsMax = 4

/**
 * Registers waits of any number of workers, and answers each at its index. A wait that is there stays as it is. Whoever
 * registers goes on to let the new ones look for their answer (`answerFromResponses`): nobody else may have it.
 */
export async function registerWaits(
  store: Store,
  requests: WaitRequest[],
  { lookbackMs }: { lookbackMs: number },
): Promise<WaitRegistration[]> {
  const outcomes = new Map<number, WaitRegistration>()
  let open: Placed[] = requests.map((request, index) => ({ index, request }))
  for (let round = 0; open.length > 0 && round < roundsMax; round += 1) {
    const { now, later } = eachWaitOnce(open)
    const { ok, bad } = await isolate(now, async (part) => await registerPart(store, part, lookbackMs))
    for (const { item, error } of bad)
      outcomes.set(item.index, { kind: 'refused', code: 'invalid_field', detail: error.message })
    const again = ok.flatMap(({ items, result }) => settle(items, result, outcomes))
    open = [...again, ...later]
  }
  return requests.map((_, index) => outcomes.get(index) ?? { kind: 'lost' })
}

interface Placed {
  index: number
  request: WaitRequest
}

const waitOf = ({ request: { command } }: Placed): string =>
  refText({ runId: command.run_id, key: command.key })

/** One statement inserts each wait once; another request for it then meets what stands there. */
function eachWaitOnce(items: Placed[]): { now: Placed[]; later: Placed[] } {
  const first = new Map<string, Placed>()
  for (const item of items) if (!first.has(waitOf(item))) first.set(waitOf(item), item)
  const now = [...first.values()]
  const chosen = new Set(now)
  return { now, later: items.filter((item) => !chosen.has(item)) }
}

async function registerPart(store: Store, items: Placed[], lookbackMs: number): Promise<RegisterRow[]> {
  if (items.length === 0) return []
  const values = registerValues(
    items.map(({ request }) => request),
    lookbackMs,
  )
  return await withRetries(async () => await run<RegisterRow>(store.hot, registerStatement, values))
}

export function registerValues(requests: readonly WaitRequest[], lookbackMs: number): unknown[] {
  const waits = requests.map((request) => ({ ...request, ...termsOf(request.command) }))
  const runIds = waits.map(({ command }) => command.run_id)
  const sorted = runIds.map((id) => id.toLowerCase()).toSorted()
  return [
    runIds,
    waits.map(({ command }) => command.key),
    waits.map(({ command }) => command.epoch),
    waits.map(({ workerId }) => workerId),
    waits.map(({ command }) => command.seen),
    waits.map(({ command }) => command.wait.kind),
    waits.map(({ topic }) => topic),
    waits.map(({ topic }) => (topic === null ? null : streamOf(topic))),
    waits.map(({ filter }) => filter),
    waits.map(({ mode }) => mode),
    waits.map(({ modeMs }) => modeMs),
    waits.map(({ timeoutMs }) => timeoutMs),
    lookbackMs,
    sorted[0] ?? null,
    sorted.at(-1) ?? null,
  ]
}

interface Terms {
  topic: string | null
  filter: string | null
  mode: 'run' | 'at' | 'from_now'
  modeMs: number | null
  timeoutMs: number | null
}

function termsOf({ wait }: LoneWaitCommand): Terms {
  if (wait.kind === 'resume')
    return { topic: null, filter: null, mode: 'from_now', modeMs: wait.timeout_ms, timeoutMs: null }
  if (wait.kind === 'time') {
    const { due } = wait
    const none = { topic: null, filter: null, timeoutMs: null }
    return 'at_ms' in due
      ? { ...none, mode: 'at', modeMs: due.at_ms }
      : { ...none, mode: 'from_now', modeMs: due.after_ms }
  }
  const { topic, filter, since, timeout_ms: timeoutMs } = wait
  if (since === 'run') return { topic, filter, timeoutMs, mode: 'run', modeMs: null }
  return 'at_ms' in since
    ? { topic, filter, timeoutMs, mode: 'at', modeMs: since.at_ms }
    : { topic, filter, timeoutMs, mode: 'from_now', modeMs: since.ago_ms }
}

/** Takes what the statement decided; returns the waits for which another registration was first at the same moment. */
function settle(items: Placed[], rows: RegisterRow[], outcomes: Map<number, WaitRegistration>): Placed[] {
  const byWait = new Map(rows.map((row) => [refText({ runId: row.run_id, key: row.key }), row]))
  const again: Placed[] = []
  for (const item of items) {
    const row = byWait.get(waitOf(item))
    const outcome = row ? outcomeOf(item.request, row) : ({ kind: 'lost' } as const)
    if (outcome) outcomes.set(item.index, outcome)
    else again.push(item)
  }
  return again
}

function outcomeOf({ command }: WaitRequest, row: RegisterRow): WaitRegistration | null {
  const { topic, filter } = termsOf(command)
  const asked = describe({ kind: command.wait.kind, topic, filter })
  if (row.step_kind !== null) return mismatch(command.key, `a step of kind ${row.step_kind}`, asked)
  if (row.there_kind !== null) {
    const there = describe({ kind: row.there_kind, topic: row.there_topic, filter: row.there_filter })
    if (there !== asked) return mismatch(command.key, there, asked)
  }
  if (row.too_long === true)
    return {
      kind: 'refused',
      code: 'wait_too_long',
      detail: `the wait ${command.key} would last longer than ${limits.waitMsMax / 86_400_000} days, the most there is`,
    }
  if (row.too_many === true)
    return {
      kind: 'refused',
      code: 'too_many_open_waits',
      detail: `a run has at most ${limits.openWaitsPerRunMax} open waits`,
    }
  return row.status === null ? null : { kind: 'registered', status: row.status }
}

const mismatch = (key: string, there: string, asked: string): WaitRegistration => ({
  kind: 'refused',
  code: 'replay_mismatch',
  detail: `under the key ${key} stands ${there}, and the code now asks for ${asked}`,
})

function describe(wait: { kind: string; topic: string | null; filter: string | null }): string {
  const topic = wait.topic === null ? '' : ` on ${wait.topic}`
  return `a wait of kind ${wait.kind}${topic}${wait.filter === null ? '' : ` if ${wait.filter}`}`
}
