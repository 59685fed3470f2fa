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

const querySchema = z.strictObject({
  topic: topicSchema.optional(),
  pattern: patternSchema.optional(),
  stream: z.string().optional(),
  key: z.string().min(1).optional(),
  event_type: z.string().min(1).optional(),
  from: timeParameter.optional(),
  to: timeParameter.optional(),
  cursor: z.string().optional(),
  limit: limitParameter,
})

export interface HistoryQuery {
  stream: string
  filter: HistoryFilter
  limit: number
  /** Its mark, for cursors. */
  mark: string
  /** Null: from the beginning. */
  position: HistoryPosition | null
}

/** Throws `invalid_query` or `invalid_cursor`. */
export function parseHistoryQuery(query: unknown): HistoryQuery {
  const { cursor, limit, ...wanted } = parseQuery(querySchema, query)
  const { topic, pattern, stream } = wanted
  const named = [topic, pattern, stream].filter((each) => each !== undefined)
  const [name] = named
  if (name === undefined || named.length > 1) {
    throw queryProblem({ pointer: '?topic', detail: 'give exactly one of topic, pattern and stream' })
  }
  if (stream !== undefined && (stream.includes('/') || topicFault(stream) !== null)) {
    throw queryProblem({ pointer: '?stream', detail: 'a stream is named by the first segment of its topics' })
  }
  const mark = queryMark(wanted)
  return {
    stream: streamOf(name),
    filter: {
      matchesTopic: stream === undefined ? compilePattern(name) : () => true,
      key: wanted.key ?? null,
      eventType: wanted.event_type ?? null,
      from: wanted.from ?? null,
      to: wanted.to ?? null,
    },
    limit,
    mark,
    position: cursor === undefined ? null : positionOf(cursor, mark),
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
