import { type Broker, BrokerError, type IncomingRecord, type StreamCatalog } from '@headrace/broker'
import { type CursorGap, findGap, type LogMarks } from '@headrace/core'
import type { CursorRow } from '@headrace/store'
import { readRecords } from './lane-record.ts'

export interface ReadLog {
  readonly broker: Pick<Broker, 'readRange'>
  readonly streams: Pick<StreamCatalog, 'reader'>
  readonly topic: string
  readonly marks: LogMarks
  /** The highest of those that are followed on the partition. */
  readonly incarnation: number
  readonly signal: AbortSignal
}

/** Compares a cursor with its log as it is on Kafka; null: it goes on. */
export async function gapOfCursor(cursor: CursorRow, log: ReadLog): Promise<CursorGap | null> {
  const { marks, incarnation } = log
  return await findGap(cursor, {
    marks,
    incarnation,
    first: async (from, to) => await firstSeen(cursor, { ...log, from, to }),
  })
}

async function firstSeen(
  { stream, partition }: CursorRow,
  { broker, streams, topic, signal, from, to }: ReadLog & { from: number; to: number },
) {
  try {
    for await (const { records } of broker.readRange({ topic, partition, from, to, maxBytes: 1, signal })) {
      const [first] = records
      if (first === undefined) continue
      const [read] = await readRecords(streams, { stream, partition }, [withoutContent(first)], signal)
      return read?.seen ?? null
    }
  } catch (error) {
    if (!(error instanceof BrokerError) || error.retryable) throw error
  }
  return null
}

const NO_DATA = Buffer.from('null')

/** Its time and its name are all that is compared: a registry that is away must not keep a stream from being followed. */
const withoutContent = (record: IncomingRecord): IncomingRecord => ({ ...record, key: null, value: NO_DATA })
