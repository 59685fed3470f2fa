import type { StreamDirectory } from '@headrace/broker'
import { checkpoint } from '@headrace/core'
import { type Caller, decodeUtf8 } from '@headrace/http'
import { type FieldFault, limits, type Problem, ProblemError, type PublishedEvent } from '@headrace/schemas'
import type { GatewayMetrics } from '../gateway-metrics.ts'
import { checkData, type DataRules } from '../ingest/check-data.ts'
import { parseEvent } from '../ingest/parse-events.ts'
import { type PreparedEvent, prepareEvents, type Publisher } from '../ingest/prepare-events.ts'
import type { RateLimit } from '../ingest/rate-limit.ts'
import type { BodyLine } from '../ingest/read-lines.ts'
import { requireWritable } from '../ingest/writable-topics.ts'
import type { RequestTrace } from '../http/request-trace.ts'
import { problemOfKafka } from '../kafka-problem.ts'
import { ensureStreams } from './ensure-streams.ts'
import { PRODUCE_MS_LEAST, PUBLISH_MS_MAX, type PublishEvents } from './publish-events.ts'

export interface AnswerLines {
  streams: StreamDirectory
  publish: PublishEvents
  metrics: GatewayMetrics
  rate: RateLimit
  rules: DataRules
  caller: Caller
  now: () => number
  publisher: Pick<Publisher, 'keyId' | 'idempotencyKey'>
  trace: Pick<RequestTrace, 'beginBatch' | 'endBatch'>
  requestId: string
}

/** Events that are written together; what more came at once waits its turn. */
export const GROUP_EVENTS_MAX = 500

/** The fate of a line, in the order of the lines. Without `line`: of the request, which ends there. */
type LineAnswer = { line?: number } & (
  (PublishedEvent & { warnings?: readonly FieldFault[] }) | { id?: string; problem: Problem }
)

/**
 * Writes lines of NDJSON as they come and answers each in its place, as lines of NDJSON.
 *
 * L1  every line that is not empty has one answer, in order, before a later one is read
 * L2  a line that is no event is answered so, and the next one goes on
 * L3  after a line that was not written no later one is: their order would be another. Each of those is `not_attempted`
 * L4  a request that ends before its last line was taken ends with an answer without `line`
 */
export async function* answerLines(
  lines: AsyncIterable<BodyLine[]>,
  parts: AnswerLines,
): AsyncGenerator<string> {
  const taken: Taken = { ids: new Set(), count: 0, isBroken: false }
  try {
    for await (const group of lines) {
      for (let from = 0; from < group.length; from += GROUP_EVENTS_MAX) {
        const part = group.slice(from, from + GROUP_EVENTS_MAX)
        const room = limits.requestEventsMax - taken.count
        if (room > 0) yield textOf(await answerGroup(part.slice(0, room), taken, parts))
        if (part.length > room) throw tooMany()
      }
    }
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    parts.metrics.rejected(error.code, 1)
    yield textOf([{ problem: error.toProblem(parts.requestId) }])
  }
}

interface Taken {
  /** Given by the caller. */
  ids: Set<string>
  /** Lines that were answered. */
  count: number
  /** A line was not written (L3). */
  isBroken: boolean
}

/** A line on its way. */
interface Fate {
  readonly line: number
  /** Null: it holds none that could be read. */
  readonly event: PreparedEvent | null
  /** Why it is not written; null as long as nothing stands against it. */
  problem: ProblemError | null
  readonly warnings: readonly FieldFault[]
}

async function answerGroup(lines: BodyLine[], taken: Taken, parts: AnswerLines): Promise<LineAnswer[]> {
  const deadline = performance.now() + PUBLISH_MS_MAX
  const traceparent = parts.trace.beginBatch()
  const fates = lines.map((line, index) =>
    prepareLine(line, taken.count + index, { taken, parts, traceparent }),
  )
  taken.count += lines.length
  // Before streams are made: what is refused leaves nothing behind.
  paceOf(fates, taken, parts)
  await refuseStreams(fates, taken, { ...parts, deadline })
  if (taken.isBroken) for (const fate of fates) fate.problem ??= notAttempted()
  const events = fates.flatMap(({ event, problem }) => (problem === null && event !== null ? [event] : []))
  const held = checkpoint('gateway.before-produce')
  if (held) await held
  const outcomes = events.length === 0 ? [] : await parts.publish(events, deadline - performance.now())
  parts.trace.endBatch(events, outcomes)
  let next = 0
  return fates.map(({ line, event, problem, warnings }): LineAnswer => {
    const outcome = problem === null ? outcomes[next++] : undefined
    if (outcome?.kind === 'written')
      return { line, ...outcome.event, ...(warnings.length > 0 ? { warnings } : {}) }
    const why = problem ?? outcome?.problem ?? notAttempted()
    // What was tried is counted where it was tried.
    if (problem === null) taken.isBroken = true
    else parts.metrics.rejected(why.code, 1)
    const id = event?.callerId ?? null
    return { line, ...(id === null ? {} : { id }), problem: why.toProblem(parts.requestId) }
  })
}

function prepareLine(
  { line, bytes }: BodyLine,
  index: number,
  {
    taken,
    parts: { publisher, caller, now, rules },
    traceparent,
  }: { taken: Taken; parts: AnswerLines; traceparent: string | null },
): Fate {
  try {
    if (bytes === null)
      throw new ProblemError('body_too_large', `The line is longer than ${limits.lineBytesMax} bytes`)
    const [event] = prepareEvents(parseEvent(decodeUtf8(bytes)), {
      ...publisher,
      traceparent,
      now: now(),
      indexFrom: index,
    })
    if (event === undefined) throw new ProblemError('invalid_request', 'The line holds no event')
    requireWritable([event], caller)
    const warnings = checkData([event], rules)
    const { callerId: id } = event
    if (id !== null && taken.ids.has(id)) {
      const detail = 'an earlier line has the same id; ids are unique within a request'
      throw ProblemError.fromFaults([{ pointer: '/id', code: 'duplicate_event_id', detail }])
    }
    if (id !== null) taken.ids.add(id)
    return { line, event, problem: null, warnings }
  } catch (error) {
    if (error instanceof ProblemError) return { line, event: null, problem: error, warnings: [] }
    throw error
  }
}

/** Lines that come too early are refused together, and those behind them; so are all once the key is not valid any more. */
function paceOf(fates: Fate[], taken: Taken, { rate, caller }: AnswerLines): void {
  const wanted = fates.filter(({ problem }) => problem === null)
  if (taken.isBroken) return
  try {
    if (!caller.isValid())
      throw new ProblemError('unauthorized', 'The API key was revoked, replaced or is over')
    rate.take(caller, wanted.length)
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    taken.isBroken = true
    for (const fate of wanted) fate.problem = error
  }
}

/** A stream that is refused is its line's to mend; an outage is the whole group's, which is written together. */
async function refuseStreams(
  fates: Fate[],
  taken: Taken,
  { streams, deadline }: AnswerLines & { deadline: number },
): Promise<void> {
  for (const fate of fates) {
    if (fate.event === null || fate.problem !== null || taken.isBroken) continue
    try {
      const ms = deadline - PRODUCE_MS_LEAST - performance.now()
      await ensureStreams([fate.event], streams, Math.max(1, ms))
    } catch (error) {
      const problem = error instanceof ProblemError ? error : problemOfKafka(error)
      if (problem === null) throw error
      fate.problem = problem
      if (!problem.toProblem(null).retryable) continue
      taken.isBroken = true
      for (const other of fates) other.problem ??= problem
    }
  }
}

const notAttempted = (): ProblemError =>
  new ProblemError('not_attempted', 'An earlier line was not written; this one would have come before it')

const tooMany = (): ProblemError =>
  new ProblemError(
    'too_many_events',
    `At most ${limits.requestEventsMax} lines go into one request; send the others in another one`,
  )

const textOf = (answers: LineAnswer[]): string =>
  answers.map((answer) => `${JSON.stringify(answer)}\n`).join('')
