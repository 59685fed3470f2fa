import { limitParameter, parseQuery, timeParameter } from '@headrace/http'
import {
  type FieldFault,
  patternSchema,
  ProblemError,
  streamOf,
  topicFault,
  topicSchema,
} from '@headrace/schemas'
import { compilePattern } from '@headrace/core'
import { z } from 'zod'
import { decodeHistoryCursor, type HistoryPosition, queryMark } from './history-cursor.ts'
import type { HistoryFilter } from './scan-history.ts'

/** Which events of a stream are wanted: what a list and a follower are asked alike. */
const wantedParameters = {
  topic: topicSchema.optional(),
  pattern: patternSchema.optional(),
  stream: z.string().optional(),
  key: z.string().min(1).optional(),
  event_type: z.string().min(1).optional(),
}

const listParameters = z.strictObject({
  ...wantedParameters,
  from: timeParameter.optional(),
  to: timeParameter.optional(),
  cursor: z.string().optional(),
  limit: limitParameter,
})

const START_FAULT = 'must be earliest, latest, or a time such as 2026-11-23T12:00:00Z'
const followParameters = z.strictObject({
  ...wantedParameters,
  from: z.union([z.enum(['earliest', 'latest']), timeParameter], { error: START_FAULT }).default('latest'),
})

export interface HistoryQuery {
  stream: string
  /** Patterns of all topics that are asked for. */
  asked: readonly string[]
  filter: HistoryFilter
  limit: number
  /** Its mark, for cursors. */
  mark: string
  /** Null: from the beginning. */
  position: HistoryPosition | null
}

/** Throws `invalid_query` or `invalid_cursor`. */
export function parseHistoryQuery(query: unknown): HistoryQuery {
  const { cursor, limit, ...wanted } = parseQuery(listParameters, query)
  const mark = queryMark(wanted)
  const { stream, asked, filter } = wantedOf(wanted)
  return {
    stream,
    asked,
    filter: { ...filter, from: wanted.from ?? null, to: wanted.to ?? null },
    limit,
    mark,
    position: cursor === undefined ? null : positionOf(cursor, mark),
  }
}

export interface FollowQuery {
  stream: string
  /** As of {@link HistoryQuery}. */
  asked: readonly string[]
  filter: HistoryFilter
  /** Where to begin, unless the caller names the last event it has seen; a number is ms since 1970. */
  from: 'earliest' | 'latest' | number
}

/** Throws `invalid_query`. */
export function parseFollowQuery(query: unknown): FollowQuery {
  const { from, ...wanted } = parseQuery(followParameters, query)
  const { stream, asked, filter } = wantedOf(wanted)
  return {
    stream,
    asked,
    filter: { ...filter, from: typeof from === 'number' ? from : null, to: null },
    from,
  }
}

type Wanted = z.output<z.ZodObject<typeof wantedParameters>>

function wantedOf({ topic, pattern, stream, key, event_type: eventType }: Wanted): {
  stream: string
  asked: readonly string[]
  filter: Omit<HistoryFilter, 'from' | 'to'>
} {
  const named = [topic, pattern, stream].filter((each) => each !== undefined)
  const [name] = named
  if (name === undefined || named.length > 1) {
    throw queryProblem({ pointer: '?topic', detail: 'give exactly one of topic, pattern and stream' })
  }
  if (stream !== undefined && (stream.includes('/') || topicFault(stream) !== null)) {
    throw queryProblem({ pointer: '?stream', detail: 'a stream is named by the first segment of its topics' })
  }
  const matchesTopic = stream === undefined ? compilePattern(name) : () => true
  // A stream has its own name as a topic too.
  const asked = stream === undefined ? [name] : [stream, `${stream}/**`]
  return {
    stream: streamOf(name),
    asked,
    filter: { matchesTopic, key: key ?? null, eventType: eventType ?? null },
  }
}

function positionOf(cursor: string, mark: string): HistoryPosition {
  const position = decodeHistoryCursor(cursor)
  if (position !== null && position.query === mark) return position
  const fault: FieldFault = {
    pointer: '?cursor',
    code: 'invalid_cursor',
    detail:
      position === null
        ? 'is not a cursor of this list; take next_cursor of its last page'
        : 'belongs to another query; keep the other parameters as they were',
  }
  throw new ProblemError('invalid_cursor', `?cursor: ${fault.detail}`, { errors: [fault] })
}

function queryProblem({ pointer, detail }: { pointer: string; detail: string }): ProblemError {
  return new ProblemError('invalid_query', `${pointer}: ${detail}`, {
    errors: [{ pointer, code: 'invalid_query', detail }],
  })
}
