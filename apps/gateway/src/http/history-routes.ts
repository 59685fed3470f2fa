import { type Broker, readRecord, type StreamCatalog } from '@headrace/broker'
import { type Caller, noQuery, parseQuery, requireReadable, requireStream } from '@headrace/http'
import { ProblemError } from '@headrace/schemas'
import type { FastifyInstance } from 'fastify'
import { encodeHistoryCursor } from '../history/history-cursor.ts'
import { type HistoryQuery, parseHistoryQuery } from '../history/history-query.ts'
import { mergeRecords } from '../history/merged-records.ts'
import { historyReader } from '../history/history-reader.ts'
import { type HistoryEvent, scanHistory, shown } from '../history/scan-history.ts'
import { withinDeadline } from '../kafka-deadline.ts'
import { isStreamName, noStream } from '../streams/read-streams.ts'
import { streamProblem } from './stream-problem.ts'

export interface HistoryParts {
  broker: Pick<Broker, 'readRange' | 'offsets' | 'offsetsForTime'>
  prefix: string
  catalog: Pick<StreamCatalog, 'topicOf' | 'reader'>
}

/** Each holds some MiB and a share of the brokers' disks; reading history must not slow publishing. */
const SCANS_MAX = 16
/** Of one scan with all that Kafka takes to answer. */
const READ_MS_MAX = 8_000
const ASK_MS_MAX = 5_000

/** `GET /v1/events` and `GET /v1/events/{stream}/{partition}/{sequence_id}`, straight from the log. */
export function historyRoutes(parts: HistoryParts) {
  let scans = 0
  return async (app: FastifyInstance): Promise<void> => {
    app.route({
      method: 'GET',
      url: '/v1/events',
      config: { scope: 'events:read' },
      async handler(request) {
        const query = parseHistoryQuery(request.query)
        requireReadable(request.caller, ...query.asked)
        if (scans >= SCANS_MAX)
          throw new ProblemError(
            'overloaded',
            `${SCANS_MAX} readers of history are under way; ask again later`,
          )
        scans += 1
        try {
          return await listEvents(query, parts)
        } finally {
          scans -= 1
        }
      },
    })
    app.route<{ Params: EventParams }>({
      method: 'GET',
      url: '/v1/events/:stream/:partition/:sequence_id',
      config: { scope: 'events:read' },
      async handler(request) {
        parseQuery(noQuery, request.query)
        return await findEvent(request.params, request.caller, parts)
      },
    })
  }
}

async function listEvents(query: HistoryQuery, { broker, prefix, catalog }: HistoryParts): Promise<object> {
  const { stream, filter, limit, mark, position } = query
  if (!isStreamName(prefix, stream)) throw noStream(stream)
  const topic = catalog.topicOf(stream)
  const reading = new AbortController()
  const spans =
    position?.spans ??
    (await streamProblem(stream, withinDeadline(firstSpans(broker, topic, filter), ASK_MS_MAX)))
  const records = mergeRecords({ broker, topic, spans, signal: reading.signal })
  try {
    const read = historyReader(catalog, stream)
    const scan = scanHistory({ read, records, filter, limit, monotonic: () => performance.now() })
    const page = await streamProblem(stream, withinDeadline(scan, READ_MS_MAX))
    const rest = records.rest()
    const nextCursor =
      page.atEnd || rest.size === 0 ? null : encodeHistoryCursor({ query: mark, spans: rest })
    return {
      data: page.events,
      next_cursor: nextCursor,
      scanned: page.scanned,
      unreadable: page.unreadable,
    }
  } finally {
    reading.abort(new Error('the page is done'))
  }
}

/** A listing ends where the log ended when it began, so that it ends also on a busy stream. */
async function firstSpans(
  broker: HistoryParts['broker'],
  topic: string,
  { from, to }: { from: number | null; to: number | null },
): Promise<Map<number, { next: number; end: number }>> {
  const marks = await broker.offsets(topic)
  const first = from === null ? null : await broker.offsetsForTime(topic, from)
  const last = to === null ? null : await broker.offsetsForTime(topic, to)
  return new Map(
    [...marks].map(([partition, { low, high }]) => [
      partition,
      {
        next: first === null ? low : (first.get(partition) ?? high),
        end: last === null ? high : (last.get(partition) ?? high),
      },
    ]),
  )
}

interface EventParams {
  stream: string
  partition: string
  sequence_id: string
}

const wholeNumber = /^(0|[1-9][0-9]{0,14})$/

async function findEvent(
  params: EventParams,
  caller: Caller,
  { broker, prefix, catalog }: HistoryParts,
): Promise<HistoryEvent> {
  const { stream, partition: partitionText, sequence_id: sequenceText } = params
  const where = `${stream}/${partitionText}/${sequenceText}`
  if (!wholeNumber.test(partitionText) || !wholeNumber.test(sequenceText))
    throw new ProblemError('event_not_found', `${where} is not the position of an event`)
  // Also what is wrong with a record, and whether there is one, is for its stream's readers.
  requireStream(caller, stream)
  if (!isStreamName(prefix, stream)) throw noStream(stream)
  const [partition, offset] = [Number(partitionText), Number(sequenceText)]
  const topic = catalog.topicOf(stream)
  const reading = new AbortController()
  const read = readRecord(broker, { topic, partition, offset, signal: reading.signal })
  const record = await streamProblem(stream, withinDeadline(read, ASK_MS_MAX)).finally(() => reading.abort())
  if (record === null)
    throw new ProblemError('event_not_found', `There is no event at ${where}, or it was removed by retention`)
  const decoded = await historyReader(catalog, stream)({ partition, ...record })
  if (decoded.kind === 'event') requireReadable(caller, decoded.event.topic)
  if (decoded.kind === 'event') return shown(decoded.event, record.headers)
  throw new ProblemError(
    'event_not_found',
    `The record at ${where} is no event${decoded.kind === 'skipped' ? '' : ` (${decoded.reason})`}: ${decoded.detail}`,
  )
}
