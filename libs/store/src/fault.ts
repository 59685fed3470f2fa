import { certificateCodes, NO_TLS } from './url-client.ts'

/**
 * Whose fault an error of Postgres is, and so what to do:
 * - `row`: a value the row brought (SQLSTATE 22, 23): halve the batch down to it ({@link isolate}), refuse it alone.
 * - `retry`: two transactions met (40001, 40P01, lock timeouts): the same again, at once.
 * - `missing_partition`: 23514 without a constraint name: no partition for the row. Nobody's fault; make it, try again.
 * - `outage`: Postgres is away, starting, stopping, out of connections or space: wait, then the same again.
 * - `bug`: anything else. Trying again will not help.
 */
export type FaultKind = 'row' | 'retry' | 'missing_partition' | 'outage' | 'bug'

/** Sockets and pools name their errors by code or message, not by SQLSTATE. */
const socketCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
])
/** Sentences of pg and pg-pool, which have no code for these. */
const outageMessages = [
  'Connection terminated',
  'Client has encountered a connection error',
  'Client was closed and is not queryable',
  'Query read timeout',
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Cannot use a pool after calling end',
  NO_TLS,
]
const retryStates = new Set(['40001', '40P01', '55P03'])

/** Names the kind of an error that a statement threw. */
export function classify(error: unknown): FaultKind {
  if (!(error instanceof Error)) return 'bug'
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null
  if (code === null) {
    // drizzle and our own migrations say what they were doing; the reason is inside.
    if (error.cause instanceof Error) return classify(error.cause)
    if (error instanceof AggregateError)
      return error.errors.every((one) => classify(one) === 'outage') ? 'outage' : 'bug'
    return outageMessages.some((sentence) => error.message.startsWith(sentence)) ? 'outage' : 'bug'
  }
  // A certificate that is not believed heals when the right one is put there, as a password does.
  if (socketCodes.has(code) || certificateCodes.has(code)) return 'outage'
  if (retryStates.has(code)) return 'retry'
  if (code === '23514' && !('constraint' in error && error.constraint)) return 'missing_partition'
  switch (code.slice(0, 2)) {
    case '22':
    case '23':
    case '54': // program limit exceeded: a value too large for Postgres itself
      return 'row'
    case '08': // connection
    case '53': // out of resources
    case '57': // operator intervention, also a statement over its time
    case '58': // the system around Postgres
    case '28': // not let in: a rotated password heals without us
    case '3D': // the database is not there (yet)
    case '25': // read-only: a fail-over is under way
      return 'outage'
    default:
      return 'bug'
  }
}

/** Deadlocks and serialisation failures end by themselves; so many in a row are something else. */
const retriesMax = 10

/** Runs `work` again, at once, while its error is a `retry`; at most 10 times, and not once `signal` is aborted. */
export async function withRetries<Result>(
  work: () => Promise<Result>,
  options: { signal?: AbortSignal } = {},
): Promise<Result> {
  for (let retries = 0; ; retries += 1) {
    try {
      return await work()
    } catch (error) {
      if (classify(error) !== 'retry' || retries === retriesMax || options.signal?.aborted) throw error
    }
  }
}

export interface Isolated<Item, Result> {
  /** What each part of the batch that went through answered, with the items of that part. */
  ok: { items: Item[]; result: Result }[]
  /** Items that fail on their own, each with Postgres's reason. */
  bad: { item: Item; error: Error }[]
}

/**
 * Runs a batch; when it fails for a row's sake, halves it down to that row, which alone is `bad`.
 * Order is kept. Errors of any other kind are thrown, so nothing is ever called bad because Postgres was away;
 * parts that had gone through by then stay done, which is why every statement may be repeated.
 */
export async function isolate<Item, Result>(
  items: Item[],
  attempt: (items: Item[]) => Promise<Result>,
): Promise<Isolated<Item, Result>> {
  try {
    return { ok: [{ items, result: await attempt(items) }], bad: [] }
  } catch (error) {
    if (!(error instanceof Error) || classify(error) !== 'row') throw error
    const [only] = items
    if (only === undefined) throw error
    if (items.length === 1) return { ok: [], bad: [{ item: only, error }] }
  }
  const middle = Math.ceil(items.length / 2)
  const left = await isolate(items.slice(0, middle), attempt)
  const right = await isolate(items.slice(middle), attempt)
  return { ok: [...left.ok, ...right.ok], bad: [...left.bad, ...right.bad] }
}
