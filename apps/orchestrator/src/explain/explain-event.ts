import {
  type Broker,
  BrokerError,
  type IncomingRecord,
  readRecord,
  type StreamCatalog,
} from '@headrace/broker'
import { type ReadEvent, toWireEvent } from '@headrace/core'
import { ProblemError, type WireEvent, type WireExplanation } from '@headrace/schemas'
import {
  answeredBy,
  firstPositionOf,
  gapsOver,
  incarnationsOf,
  isAt,
  listTriggers,
  loadCursors,
  repeatAt,
  runsWithEvent,
  type Store,
} from '@headrace/store'
import { findLetters, isInInput } from './find-letters.ts'
import { type Known, outcomesOf } from './outcome.ts'

export interface ExplainEvent {
  broker: Pick<Broker, 'readRange' | 'offsetsForTime' | 'offsets'>
  store: Store
  prefix: string
  streams: Pick<StreamCatalog, 'topicOf' | 'reader'>
  stream: string
  partition: number
  sequenceId: number
  monotonic: () => number
  signal: AbortSignal
}

/** What became of an event, trigger by trigger. Throws `event_not_found`. */
export async function explainEvent(options: ExplainEvent): Promise<WireExplanation> {
  const { store, streams, stream, partition, sequenceId } = options
  const record = await recordAt(options)
  const read = await streams.reader(stream, [record], options.signal)
  const decoded = read({ partition, ...record })
  const event = decoded.kind === 'event' ? toWireEvent(decoded.event) : null
  const triggers = (await listTriggers(store)).filter((trigger) => trigger.stream === stream)
  const cursors = await loadCursors(store, stream, [partition])
  const incarnation = (await incarnationsOf(store, stream)).get(partition) ?? 1
  const runs = await runsOf(
    options,
    triggers.map(({ id }) => id),
    event,
  )
  const repeatOf =
    decoded.kind === 'event' && decoded.event.dedup
      ? await otherPosition(options, { ...decoded.event, incarnation })
      : null
  const known = triggers.map((trigger): Known => ({
    trigger,
    cursor: cursors.find(({ triggerId }) => triggerId === trigger.id) ?? null,
    sequenceId,
    event,
    runIds: runs.filter(({ triggerId }) => triggerId === trigger.id).map(({ runId }) => runId),
    repeatOf,
    letter: null,
  }))
  return {
    event,
    unreadable: unreadableOf(decoded),
    triggers: await withLetters(options, { known, since: record.timestamp }),
    waits: (await answeredBy(store, { stream, partition, sequenceId, incarnation })).map(
      ({ runId, key }) => ({
        run_id: runId,
        key,
      }),
    ),
  }
}

/** A tombstone that its stream passes over is no event either. */
function unreadableOf(decoded: ReadEvent): WireExplanation['unreadable'] {
  if (decoded.kind === 'event') return null
  return { reason: decoded.kind === 'skipped' ? 'skipped' : decoded.reason, detail: decoded.detail }
}

async function recordAt({ broker, streams, ...where }: ExplainEvent): Promise<IncomingRecord> {
  const { stream, partition, sequenceId: offset, signal } = where
  try {
    const topic = streams.topicOf(stream)
    const record = await readRecord(broker, { topic, partition, offset, signal })
    if (record !== null) return record
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'unknown_partition') throw error
  }
  const unread = await gapsOver(where.store, { stream, partition, sequenceId: offset })
  const by = unread.length === 0 ? '' : ` unread by ${unread.map(({ triggerId }) => triggerId).join(', ')}`
  throw new ProblemError(
    'event_not_found',
    `There is no event at ${stream}/${partition}/${offset}, or it was removed by retention${by}`,
  )
}

async function runsOf(options: ExplainEvent, triggerIds: string[], event: WireEvent | null) {
  if (event === null) return []
  const { sequenceId, store } = options
  const runs = await runsWithEvent(store, triggerIds, options)
  return runs.filter(({ input }) => isInInput(input, { sequenceId, id: event.id }))
}

async function otherPosition(
  { store, partition, sequenceId }: ExplainEvent,
  event: { stream: string; source: string; id: string; incarnation: number },
): Promise<Known['repeatOf']> {
  const { stream, incarnation } = event
  // The decision is kept for longer than the id is known.
  const decided = await repeatAt(store, { stream, partition, incarnation, sequenceId })
  if (decided !== null) return decided
  const first = await firstPositionOf(store, event)
  return first === null || isAt(first, { incarnation, partition, sequenceId }) ? null : first
}

/** The topic of dead letters is read only where nothing else tells what became of the event. */
async function withLetters(
  options: ExplainEvent,
  { known, since }: { known: Known[]; since: number },
): Promise<WireExplanation['triggers']> {
  const first = known.map(outcomesOf)
  if (!first.flat().some(({ outcome }) => outcome === 'before_cursor' || outcome === 'filtered'))
    return first.flat()
  const letters = await findLetters({ ...options, since })
  return known.flatMap((each) => {
    const letter =
      letters.find(({ triggerId }) => triggerId === null || triggerId === each.trigger.id) ?? null
    return outcomesOf({ ...each, letter })
  })
}
