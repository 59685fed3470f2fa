import { type ClosedWindow, type CursorPoint, noConcurrencyKey, OffsetRanges } from '@headrace/core'
import type { CursorMove, WindowRun } from '@headrace/store'
import type { Follower } from '../lanes/follower.ts'
import type { TriggerFollower } from '../lanes/trigger-follower.ts'
import type { LaneEvent, SeenRecord } from '../lanes/lane-record.ts'

/**
 * What a follower has for Postgres: a closed window that becomes a run, an event that is set aside, or a cursor that
 * moves on without either.
 */
export type FlushEntry = WindowEntry | RefusedEntry | ProgressEntry

export interface WindowEntry {
  readonly kind: 'window'
  readonly follower: TriggerFollower
  readonly closed: ClosedWindow<LaneEvent>
  readonly cursor: CursorPoint
  readonly seen: SeenRecord | null
  /** What it counts against the memory of its lane. */
  readonly bytes: number
}

/** An event that its trigger's own expressions fail on. */
export interface RefusedEntry {
  readonly kind: 'refused'
  readonly follower: TriggerFollower
  readonly event: LaneEvent
  readonly reason: string
  readonly detail: string
  readonly cursor: CursorPoint
  readonly seen: SeenRecord | null
  readonly bytes: number
}

export interface ProgressEntry {
  readonly kind: 'progress'
  readonly follower: Follower
  readonly cursor: CursorPoint
  readonly seen: SeenRecord | null
  readonly bytes: 0
}

/** What an entry costs beside its text: the objects around it. */
const ENTRY_BYTES = 300

export function windowEntry(follower: TriggerFollower, closed: ClosedWindow<LaneEvent>): WindowEntry {
  let bytes = ENTRY_BYTES
  for (const { text } of closed.events) bytes += text.length
  return { kind: 'window', follower, closed, cursor: closed.cursor, seen: follower.seen, bytes }
}

export function refusedEntry(
  given: Pick<RefusedEntry, 'follower' | 'event' | 'cursor' | 'reason' | 'detail'>,
): RefusedEntry {
  const bytes = ENTRY_BYTES + given.event.text.length
  return { kind: 'refused', ...given, seen: given.follower.seen, bytes }
}

export function progressEntry({
  follower,
  cursor,
  seen,
}: Pick<ProgressEntry, 'follower' | 'cursor' | 'seen'>): ProgressEntry {
  return { kind: 'progress', follower, cursor, seen, bytes: 0 }
}

/** A triggered run's input: always `{"events":[…]}`, also for one event. */
export function inputOf(events: readonly LaneEvent[]): string {
  return `{"events":[${events.map(({ text }) => text).join(',')}]}`
}

/** The entries of each follower, in their order. */
export function byFollower(entries: readonly FlushEntry[]): Map<Follower, FlushEntry[]> {
  const groups = new Map<Follower, FlushEntry[]>()
  for (const entry of entries) {
    const group = groups.get(entry.follower)
    if (group === undefined) groups.set(entry.follower, [entry])
    else group.push(entry)
  }
  return groups
}

/** What beyond the cursor is settled once a follower's entries are stored. */
export function doneAfter(follower: Follower, group: readonly FlushEntry[]): OffsetRanges {
  const done = new OffsetRanges(follower.storedDone)
  for (const { cursor } of group) for (const range of cursor.settled) done.add(range)
  done.dropBelow(group.at(-1)?.cursor.nextOffset ?? 0)
  return done
}

/** Moves a follower's cursor to where its last entry leaves it, from the revision its last flush left. */
export function moveOf(follower: Follower, group: readonly FlushEntry[]): CursorMove {
  const last = group.at(-1)
  if (last === undefined) throw new RangeError('a cursor was moved for nothing')
  const { cursor, seen } = last
  return {
    triggerId: follower.cursorOf.id,
    stream: follower.lane.stream,
    partition: follower.lane.partition,
    revision: follower.stored.revision,
    version: follower.cursorOf.version,
    nextOffset: cursor.nextOffset,
    done: doneAfter(follower, group).toString(),
    lastOffset: seen?.offset ?? null,
    lastTs: seen?.timestamp ?? null,
    lastId: seen?.id ?? null,
  }
}

export function runOf(entry: WindowEntry, runId: string): WindowRun {
  const { follower, closed } = entry
  const { trigger } = follower
  const [first] = closed.events
  const last = closed.events.at(-1)
  if (first === undefined || last === undefined) throw new RangeError('a window without events was closed')
  return {
    runId,
    triggerId: follower.cursorOf.id,
    stream: follower.lane.stream,
    partition: follower.lane.partition,
    workflow: trigger.workflow,
    app: trigger.app,
    build: trigger.build,
    queue: trigger.queue,
    triggerVersion: trigger.version,
    incarnation: follower.incarnation,
    firstOffset: first.offset,
    lastOffset: last.offset,
    events: closed.events.length,
    since: last.timestamp,
    input: inputOf(closed.events),
    tags: follower.tags,
    // A run of one event goes on with its trace; several events have several, none of which is the run's own.
    traceparent: closed.events.length === 1 ? first.traceparent : null,
    concurrencyKey: trigger.concurrency === null ? null : (first.concurrencyKey ?? noConcurrencyKey),
    cancelOn: trigger.cancelOn,
  }
}
