import { randomUUID } from 'node:crypto'
import type { OffsetRange } from '@headrace/broker'
import {
  limits,
  ProblemError,
  type ReplayTrigger,
  type StreamPlace,
  type WireReplay,
  type WireReplayStatus,
} from '@headrace/schemas'
import {
  cancelReplay,
  createReplay,
  cursorsOfTriggers,
  readReplay,
  type ReplayRange,
  type ReplayRow,
  type TriggerRow,
} from '@headrace/store'
import type { ApiContext } from '../context.ts'
import { wireTime } from '../http/wire-run.ts'
import { offsetsAt } from './stream-places.ts'

/** How long a caller waits for what a dry run counts; after that it asks again. */
const DRY_RUN_MS_MAX = 10_000
const LOOK_EVERY_MS = 100

/**
 * Begins to start a trigger's runs again for a range of its stream, or to count them. The trigger service does both, in the
 * same way. Asked again under one id, answers what became of the first.
 */
export async function replayTrigger(
  context: ApiContext,
  trigger: TriggerRow,
  { id = randomUUID(), from, to, dry_run: dryRun }: ReplayTrigger,
): Promise<WireReplay> {
  const known = await readReplay(context.store, trigger.id, id)
  if (known.length > 0) return wireReplay(trigger.id, id, known)
  const ranges = await rangesOf(context, trigger, { from, to: to ?? null })
  const runningMax = limits.replaysRunningMax
  const begun = await createReplay(context.store, { id, triggerId: trigger.id, dryRun, ranges, runningMax })
  if (begun === 'unknown_trigger')
    throw new ProblemError('trigger_not_found', `There is no trigger ${trigger.id} any more`)
  if (begun === 'too_many')
    throw new ProblemError('too_many_replays', `${runningMax} replays of ${trigger.id} are running`)
  context.log.info(
    { event: 'replay.begun', trigger: trigger.id, replay: id, dry_run: dryRun, ranges },
    'a range of a trigger’s past is replayed',
  )
  return dryRun ? await whenCounted(context, trigger.id, id) : await existingReplay(context, trigger.id, id)
}

/** Throws `replay_not_found`. */
export async function existingReplay(
  context: ApiContext,
  triggerId: string,
  id: string,
): Promise<WireReplay> {
  const rows = await readReplay(context.store, triggerId, id)
  if (rows.length === 0)
    throw new ProblemError('replay_not_found', `There is no replay ${id} of ${triggerId}`)
  return wireReplay(triggerId, id, rows)
}

/** One that has ended is left as it is. */
export async function stopReplay(context: ApiContext, triggerId: string, id: string): Promise<WireReplay> {
  await existingReplay(context, triggerId, id)
  await cancelReplay(context.store, triggerId, id)
  context.log.info({ event: 'replay.cancelled', trigger: triggerId, replay: id }, 'a replay was cancelled')
  return await existingReplay(context, triggerId, id)
}

async function whenCounted(context: ApiContext, triggerId: string, id: string): Promise<WireReplay> {
  const { clock } = context
  const until = clock.now() + DRY_RUN_MS_MAX
  for (;;) {
    const replay = await existingReplay(context, triggerId, id)
    if (replay.status !== 'running' || clock.now() >= until) return replay
    await clock.sleep(LOOK_EVERY_MS, AbortSignal.timeout(DRY_RUN_MS_MAX))
  }
}

/** Without an end, up to where the trigger is: what it has not seen it will have anyway. */
async function rangesOf(
  { broker, known, store }: ApiContext,
  { id, stream }: TriggerRow,
  { from, to }: { from: StreamPlace; to: StreamPlace | null },
): Promise<ReplayRange[]> {
  const topic = known.streams.topicOf(stream)
  const marks = await broker.offsets(topic)
  const begins = await offsetsAt(from, { broker, topic, marks, pointer: '/from' })
  const ends =
    to === null
      ? await cursorsOf(store, id, marks)
      : await offsetsAt(to, { broker, topic, marks, pointer: '/to' })
  const ranges: ReplayRange[] = []
  for (const [partition, begin] of begins) {
    const end = ends.get(partition)
    if (end === undefined) continue
    if (end < begin && to !== null) {
      const detail = `is before from: ${end} and ${begin} on partition ${partition}`
      throw ProblemError.fromFaults([{ pointer: '/to', code: 'invalid_field', detail }])
    }
    ranges.push({ stream, partition, fromOffset: begin, toOffset: Math.max(begin, end) })
  }
  if (ranges.length > 0) return ranges
  const detail = 'names no partition that from names'
  throw ProblemError.fromFaults([{ pointer: '/to', code: 'invalid_field', detail }])
}

async function cursorsOf(
  store: ApiContext['store'],
  triggerId: string,
  marks: ReadonlyMap<number, OffsetRange>,
): Promise<Map<number, number>> {
  const cursors = await cursorsOfTriggers(store, [triggerId])
  return new Map(
    [...marks].map(([partition, { low, high }]) => {
      const cursor = cursors.find((row) => row.partition === partition)
      return [partition, Math.min(cursor?.nextOffset ?? low, high)]
    }),
  )
}

function wireReplay(triggerId: string, id: string, rows: readonly ReplayRow[]): WireReplay {
  const status = statusOf(rows.map((row) => row.status))
  const [first] = rows
  if (first === undefined) throw new RangeError('a replay has a range at least')
  const ends = rows.map(({ finishedAt }) => finishedAt).filter((at) => at !== null)
  return {
    id,
    trigger: triggerId,
    dry_run: first.dryRun,
    status,
    counts: first.dryRun && status === 'done' ? countsOf(rows) : null,
    created_at: wireTime(first.createdAt),
    finished_at: ends.length < rows.length ? null : wireTime(Math.max(...ends)),
    ranges: rows.map((row) => ({
      stream: row.stream,
      partition: row.partition,
      from_offset: row.fromOffset,
      to_offset: row.toOffset,
      next_offset: row.nextOffset,
      status: row.status,
      reason: row.reason,
    })),
  }
}

/** The worst that befell one of its ranges, once all have ended. */
function statusOf(statuses: readonly WireReplayStatus[]): WireReplayStatus {
  const worst = (['running', 'failed', 'cancelled'] as const).find((status) => statuses.includes(status))
  return worst ?? 'done'
}

function countsOf(rows: readonly ReplayRow[]): NonNullable<WireReplay['counts']> {
  const sum = (of: (row: ReplayRow) => number | null): number =>
    rows.reduce((total, row) => total + (of(row) ?? 0), 0)
  return {
    windows: sum(({ windows }) => windows),
    events: sum(({ events }) => events),
    filtered: sum(({ filtered }) => filtered),
    repeats: sum(({ repeats }) => repeats),
    dead_letters: sum(({ deadLetters }) => deadLetters),
  }
}
