import type { OffsetRange } from '@headrace/broker'
import { findGap } from '@headrace/core'
import { ProblemError, type StreamPlace, type WireReset, type WireResetCursor } from '@headrace/schemas'
import {
  type CursorRow,
  loadCursors,
  projectionTriggerId,
  type ResetCursor,
  resetTrigger as resetStored,
  type TriggerRow,
} from '@headrace/store'
import type { ApiContext } from '../context.ts'
import { offsetsAt } from './stream-places.ts'

type Log = ReadonlyMap<number, OffsetRange>

interface Plan {
  cursors: WireResetCursor[]
  projections: ResetCursor[]
}

/**
 * Sets a trigger's cursors to a place of its stream, and those that a gap had stopped going; a dry run says what that would
 * do. The stream's projection, stopped by the same gap, goes on with them: nobody else could set it going.
 */
export async function resetTrigger(
  context: ApiContext,
  trigger: TriggerRow,
  { to, dry_run: dryRun }: { to: StreamPlace; dry_run: boolean },
): Promise<WireReset> {
  const plan = await planReset(context, trigger, to)
  if (!dryRun) {
    const cursors = plan.cursors.map(({ reset_to: nextOffset, ...cursor }) => ({ ...cursor, nextOffset }))
    const done = await resetStored(context.store, { ...plan, triggerId: trigger.id, cursors })
    if (!done) throw new ProblemError('trigger_not_found', `There is no trigger ${trigger.id} any more`)
    context.log.info(
      { event: 'trigger.reset', trigger: trigger.id, cursors: plan.cursors },
      'the trigger’s cursors were set',
    )
  }
  return { trigger: trigger.id, dry_run: dryRun, cursors: plan.cursors }
}

async function planReset(context: ApiContext, { id, stream }: TriggerRow, to: StreamPlace): Promise<Plan> {
  const { broker, store, known: bound } = context
  const topic = bound.streams.topicOf(stream)
  const all = await loadCursors(store, stream, null)
  // After the cursors: the log only grows, so one that is beyond these marks really is beyond the log.
  const marks = await broker.offsets(topic)
  const targets = await offsetsAt(to, { broker, topic, marks, pointer: '/to' })
  const known = { context, topic, marks, all }
  const cursors: WireResetCursor[] = []
  for (const [partition, target] of targets) {
    const cursor = all.find((row) => row.triggerId === id && row.partition === partition) ?? null
    cursors.push(await plannedCursor({ stream, partition, cursor, target }, known))
  }
  // A topic that was made anew with fewer partitions: whatever comes there some day is another log.
  for (const { partition, nextOffset, incarnation } of all.filter((row) => row.triggerId === id)) {
    if (marks.has(partition) || typeof to === 'object') continue
    const gone = { reset_to: 0, end_offset: 0, again: 0, skipped: 0 }
    cursors.push({ stream, partition, next_offset: nextOffset, incarnation: incarnation + 1, ...gone })
  }
  return {
    cursors: cursors.sort((a, b) => a.partition - b.partition),
    projections: projections(cursors, known),
  }
}

interface Known {
  context: ApiContext
  topic: string
  marks: Log
  all: readonly CursorRow[]
}

async function plannedCursor(
  one: { stream: string; partition: number; cursor: CursorRow | null; target: number },
  known: Known,
): Promise<WireResetCursor> {
  const { stream, partition, cursor, target } = one
  const { low, high } = known.marks.get(partition) ?? { low: 0, high: 0 }
  const place = { stream, partition, reset_to: target, end_offset: high }
  const present = presentIncarnation(known.all, partition)
  if (cursor === null) {
    return { ...place, next_offset: null, incarnation: present, again: 0, skipped: target - low }
  }
  const { nextOffset, incarnation } = cursor
  const isAnew = await isRecreated(cursor, present, known)
  // Of another log nothing was read.
  const read = isAnew ? low : Math.min(Math.max(nextOffset, low), high)
  return {
    ...place,
    next_offset: nextOffset,
    incarnation: isAnew ? Math.max(incarnation + 1, present) : incarnation,
    again: Math.max(0, read - target),
    skipped: Math.max(0, target - read),
  }
}

/** Of the log as it is: one that stopped because the topic was made anew is of the incarnation before. */
function presentIncarnation(all: readonly CursorRow[], partition: number): number {
  const at = all.filter((row) => row.partition === partition)
  return Math.max(1, ...at.map(({ incarnation, reason }) => incarnation + (reason === 'recreated' ? 1 : 0)))
}

async function isRecreated(cursor: CursorRow, present: number, known: Known): Promise<boolean> {
  if (cursor.status === 'stopped' && cursor.reason !== 'gap') return cursor.reason === 'recreated'
  const { context, topic, marks } = known
  const gap = await findGap(cursor, {
    marks: marks.get(cursor.partition) ?? { low: 0, high: 0 },
    incarnation: present,
    first: async (from, to) => {
      const range = { topic, partition: cursor.partition, from, to, maxBytes: 1 }
      for await (const { records } of context.broker.readRange(range)) {
        // The log's time tells records apart well enough, and foreign ones have their ids elsewhere.
        for (const { timestamp } of records) return { timestamp, id: null }
      }
      return null
    },
  })
  return gap?.kind === 'recreated'
}

function projections(cursors: readonly WireResetCursor[], { all, marks }: Known): ResetCursor[] {
  return cursors.flatMap(({ stream, partition, incarnation }) => {
    const own = all.find((row) => row.triggerId === projectionTriggerId && row.partition === partition)
    const log = marks.get(partition)
    if (own?.status !== 'stopped' || log === undefined) return []
    // What is left of a log that was cut was projected.
    const nextOffset = own.reason === 'truncated' ? log.high : log.low
    return [{ stream, partition, nextOffset, incarnation: Math.max(own.incarnation, incarnation) }]
  })
}
