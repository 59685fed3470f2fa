import type { IncomingRecord } from '@headrace/broker'
import { checkpoint, crashPoint, decodeResponse, type ResponseRecord, toWireFacts } from '@headrace/core'
import {
  answerFromResponses,
  type FilterMatch,
  insertResponses,
  isolate,
  type OpenWait,
  openWaitsOn,
  raiseCorrelatorCursor,
  responseAgeMsMax,
  responseAheadMsMax,
  type ResponseRow,
  type ServerClock,
  type Store,
} from '@headrace/store'
import type { RunEvents } from '../runs/run-events.ts'
import type { Cancels } from '../waits/cancels.ts'
import type { RefusedResponse, SetAside } from './set-aside.ts'

/** Records of one partition of the response topic, in order, and where the next ones begin. */
export interface ResponseChunk {
  partition: number
  records: readonly IncomingRecord[]
  nextOffset: number
}

export interface CorrelateOptions {
  store: Store
  serverClock: Pick<ServerClock, 'now'>
  events: Pick<RunEvents, 'answered'>
  matches: FilterMatch
  cancels: Pick<Cancels, 'came'>
  setAside: SetAside
}

/** Open waits that are looked at between two statements. */
const WAITS_MAX = 500

interface Read {
  record: IncomingRecord
  response: ResponseRecord
  row: ResponseRow
}

/**
 * One step of correlation, in three commits that must be in this order:
 *  1  the responses are stored;
 *  2  the open waits on their topics are found, and each is answered with the first response that it takes, of all that
 *     are stored, not with what is in hand. A wait that is committed after this look reads for itself, and finds what 1
 *     has committed: one of the two sees the other;
 *  3  the cursor is raised, past records that are no responses once their dead letters are acknowledged.
 * Done again from anywhere, by the same instance or by another, it changes nothing: positions are unique, and a wait is
 * answered once. So a death, a rebalance or an outage costs time only.
 */
export async function correlate(
  options: CorrelateOptions,
  chunk: ResponseChunk,
  signal: AbortSignal,
): Promise<void> {
  const { store, serverClock } = options
  const nowMs = serverClock.now()
  const { read, refused } = readChunk(chunk, nowMs)
  const held = checkpoint('correlator.before-insert')
  if (held) await held
  const { bad } = await isolate(read, async (part) => {
    const rows = part.map(({ row }) => row)
    await insertResponses(store, rows, { partition: chunk.partition, nowMs })
  })
  for (const { item, error } of bad)
    refused.push(refusal(chunk.partition, item.record, 'response_refused', error.message))
  crashPoint('responses.after-insert')
  const isBad = new Set(bad.map(({ item }) => item))
  const stored = read.filter((each) => !isBad.has(each))
  await answerOpenWaits(options, stored)
  crashPoint('answer.after-match')
  const holding = checkpoint('answer.after-match')
  if (holding) await holding
  if (refused.length > 0) await options.setAside(refused, signal)
  const { partition, nextOffset } = chunk
  await raiseCorrelatorCursor(store, { partition, nextOffset, logTimeMs: oldestOf(stored) })
}

/**
 * By the topics of all records in hand, not only of those that were new: whoever stored them first may have died before
 * matching them.
 */
async function answerOpenWaits(
  { store, events, matches, cancels }: CorrelateOptions,
  stored: readonly Read[],
): Promise<void> {
  const topics = [...new Set(stored.map(({ row }) => row.topic))]
  const inHand = stored.map(({ response }) => response)
  let after: OpenWait | null = null
  do {
    const page: OpenWait[] = await openWaitsOn(store, topics, after, WAITS_MAX)
    const waits = page.filter(({ kind }) => kind === 'event')
    if (waits.length > 0) events.answered(await answerFromResponses(store, waits, matches, inHand))
    await cancels.came(
      page.filter(({ kind }) => kind === 'cancel'),
      inHand,
    )
    after = page.length < WAITS_MAX ? null : (page.at(-1) ?? null)
  } while (after !== null)
}

function readChunk(
  { partition, records }: ResponseChunk,
  nowMs: number,
): { read: Read[]; refused: RefusedResponse[] } {
  const read: Read[] = []
  const refused: RefusedResponse[] = []
  for (const record of records) {
    const decoded = decodeResponse({ ...record, partition })
    if (decoded.kind === 'unreadable') {
      refused.push(refusal(partition, record, decoded.reason, decoded.detail))
      continue
    }
    const row = rowOf(decoded.response)
    if (row.logTimeMs < nowMs - responseAgeMsMax || row.logTimeMs > nowMs + responseAheadMsMax) {
      const detail = `its log time, ${row.logTimeMs}, is too far from now for any wait`
      refused.push(refusal(partition, record, 'response_out_of_time', detail))
      continue
    }
    read.push({ record, response: decoded.response, row })
  }
  return { read, refused }
}

const refusal = (
  partition: number,
  record: IncomingRecord,
  reason: string,
  detail: string,
): RefusedResponse => ({
  reason,
  detail,
  partition,
  record,
})

function rowOf({ event, incarnation, data }: ResponseRecord): ResponseRow {
  const {
    topic,
    stream,
    partition,
    sequenceId,
    id,
    source,
    eventType,
    key,
    traceparent,
    createdAt,
    external,
  } = event
  return {
    topic,
    logTimeMs: createdAt,
    stream,
    incarnation,
    partition,
    sequenceId,
    id,
    source,
    eventType,
    key,
    data,
    traceparent,
    external: external === undefined ? null : JSON.stringify(toWireFacts(external)),
  }
}

const oldestOf = (stored: readonly Read[]): number | null =>
  stored.length === 0 ? null : stored.reduce((least, { row }) => Math.min(least, row.logTimeMs), Infinity)
