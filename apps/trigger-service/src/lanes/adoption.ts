import type { Broker, StreamCatalog } from '@headrace/broker'
import { type CursorGap, gapOf, type LogMarks } from '@headrace/core'
import {
  type Clock,
  codeOf,
  createDuty,
  type Duty,
  limited,
  type Logger,
  type Metrics,
} from '@headrace/service'
import type { CursorRow, NewProjection, PastGap } from '@headrace/store'
import type { TriggerMetrics } from '../metrics.ts'
import { ProjectionFollower } from '../projection/projection-follower.ts'
import { newProjections } from '../projection/new-projections.ts'
import { isProjection, type LaneTrigger } from '../triggers/lane-trigger.ts'
import type { Follower } from './follower.ts'
import { gapOfCursor } from './gap.ts'
import type { LaneSet } from './lane-set.ts'
import { laneStart } from './lane-start.ts'
import type { Lane } from './lane.ts'
import { expressionsOf } from './trigger-expressions.ts'
import { TriggerFollower } from './trigger-follower.ts'

/** The sweep behind the pokes. */
const SWEEP_EVERY_MS = 1_000
/**
 * A cursor is stopped only when the log was found short of it twice, so far apart: a leader that has just been elected
 * may not know its own end yet.
 */
const BEYOND_CONFIRM_MS = 2_000
/** How often the same trouble is said. */
const LOG_EVERY_MS = 30_000

/** What adoption needs of Postgres. */
export interface CursorStore {
  loadCursors(stream: string, partitions: number[]): Promise<CursorRow[]>
  /** Rows that exist already are left as they are. */
  createCursors(rows: readonly NewCursor[]): Promise<void>
  /** With their cursors; those that are begun are left as they are. */
  createProjections(rows: readonly NewProjection[]): Promise<void>
  /** False when it is not as it was read any more. */
  stopCursor(cursor: CursorRow, gap: CursorGap): Promise<boolean>
  /** Sets it behind a gap, as the trigger's policy says; likewise. */
  passGap(cursor: CursorRow, past: PastGap): Promise<boolean>
}

export interface NewCursor {
  readonly triggerId: string
  readonly stream: string
  readonly partition: number
  readonly nextOffset: number
  readonly version: number
}

export interface AdoptionParts {
  lanes: LaneSet
  store: CursorStore
  broker: Pick<Broker, 'offsets' | 'offsetsForTime' | 'readRange'>
  streams: Pick<StreamCatalog, 'reader'>
  /** Reads behind the lane until it meets it. */
  catchUp: (follower: Follower, lane: Lane) => void
  /** A cursor works by a newer definition than the list of triggers: it is worth reading again. */
  onStale: () => void
  metrics: TriggerMetrics
  serviceMetrics: Metrics
  log: Logger
  clock: Clock
}

/**
 * Gives every lane the followers it lacks: on assignment, for a trigger that is new, changed or resumed, and after a
 * cursor was lost. Always the same way: read the cursor, compare it with the log, then join the lane, or catch up.
 */
export class Adoption {
  readonly duty: Duty
  readonly #parts: AdoptionParts
  /** Cursors that were found beyond the log, and when first. */
  readonly #beyond = new Map<string, number>()

  constructor(parts: AdoptionParts) {
    this.#parts = parts
    this.duty = createDuty({
      name: 'trigger-service.adoption',
      everyMs: SWEEP_EVERY_MS,
      log: parts.log,
      clock: parts.clock,
      metrics: parts.serviceMetrics,
      runOnce: async (signal) => await this.#sweep(signal),
    })
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const byTopic = new Map<string, Lane[]>()
    for (const lane of this.#parts.lanes.all) {
      if (this.#parts.lanes.orphansOf(lane).length === 0) continue
      const group = byTopic.get(lane.topic)
      if (group === undefined) byTopic.set(lane.topic, [lane])
      else group.push(lane)
    }
    // One stream's trouble (its topic was deleted) must not keep the others waiting (P6).
    const results = await Promise.allSettled(
      [...byTopic.values()].map(async (lanes) => await this.#adopt(lanes, signal)),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** All lanes of one stream. */
  async #adopt(lanes: readonly Lane[], signal: AbortSignal): Promise<void> {
    const [first] = lanes
    if (first === undefined) return
    const { stream, topic } = first
    const wanted = lanes.map((lane) => ({ lane, triggers: this.#parts.lanes.orphansOf(lane) }))
    const partitions = lanes.map(({ partition }) => partition)
    let rows = cursorsByName(await this.#parts.store.loadCursors(stream, partitions))
    // After the cursors: the log only grows, so a cursor beyond these marks really is beyond the log.
    const marks = await this.#parts.broker.offsets(topic, { signal })
    const missing = wanted.flatMap(({ lane, triggers }) => {
      const lanesMarks = marks.get(lane.partition)
      // A partition that Kafka does not tell of yet: begun at a guess, its cursor might pass over events.
      if (lanesMarks === undefined) return []
      return triggers
        .filter(({ id }) => !rows.has(cursorName(id, lane.partition)))
        .map((trigger) => ({ trigger, partition: lane.partition, marks: lanesMarks }))
    })
    if (missing.length > 0) {
      await this.#begin(topic, missing, signal)
      rows = cursorsByName(await this.#parts.store.loadCursors(stream, partitions))
    }
    for (const { lane, triggers } of wanted) {
      const lanesMarks = marks.get(lane.partition)
      if (lanesMarks === undefined) continue
      const followers: Follower[] = []
      const incarnation = incarnationOf(rows.values(), lane.partition)
      for (const trigger of triggers) {
        const cursor = rows.get(cursorName(trigger.id, lane.partition))
        const follower =
          cursor === undefined
            ? null
            : await this.#follower(trigger, cursor, { topic, marks: lanesMarks, signal, incarnation })
        if (follower !== null) followers.push(follower)
      }
      this.#giveTo(lane, followers)
    }
  }

  /** Makes the cursors of those that never followed these partitions. */
  async #begin(topic: string, missing: readonly Beginning[], signal: AbortSignal): Promise<void> {
    const { broker, store } = this.#parts
    const cursors = missing.flatMap(({ trigger, partition, marks }) =>
      isProjection(trigger) ? [] : [newCursor(trigger, partition, marks.low)],
    )
    const projections = missing.flatMap(({ trigger, partition, marks }) =>
      isProjection(trigger) ? [{ trigger, partition, high: marks.high }] : [],
    )
    if (cursors.length > 0) await store.createCursors(cursors)
    if (projections.length === 0) return
    try {
      await store.createProjections(await newProjections(projections, { broker, topic, signal }))
    } catch (error) {
      signal.throwIfAborted()
      // The triggers of the stream need nothing of it (P6); the next sweep asks again.
      limited(this.#parts.log, `projection/${topic}`, LOG_EVERY_MS, this.#parts.clock).warn(
        { event: 'projection.not_begun', code: codeOf(error), topic, err: error },
        'where the projection of a stream begins could not be found; trying again',
      )
    }
  }

  /** Null where the cursor may not be followed now; why is said. */
  async #follower(
    trigger: LaneTrigger,
    cursor: CursorRow,
    log: { topic: string; marks: LogMarks; signal: AbortSignal; incarnation: number },
  ): Promise<Follower | null> {
    if (cursor.version !== trigger.version) {
      this.#parts.onStale()
      return null
    }
    if (cursor.status !== 'live') return null
    const { broker, store, streams } = this.#parts
    const gap = await gapOfCursor(cursor, { ...log, broker, streams })
    const isBeyond = gapOf(cursor, log.marks).kind === 'beyond_log'
    if (!isBeyond) this.#beyond.delete(beyondName(cursor))
    if (gap === null) return this.#makeFollower(trigger, cursor)
    if (isBeyond && !this.#confirmed(cursor)) return null
    const told =
      trigger.gapPolicy === 'continue'
        ? await store.passGap(cursor, pastGap(cursor, gap, log))
        : await store.stopCursor(cursor, gap)
    if (told) this.#say(cursor, gap, log.marks)
    // Where it was set behind the gap, it is read again as it is now.
    if (told && trigger.gapPolicy === 'continue') this.duty.poke()
    return null
  }

  #makeFollower(trigger: LaneTrigger, cursor: CursorRow): Follower | null {
    if (isProjection(trigger)) return new ProjectionFollower({ trigger, cursor })
    const compiled = expressionsOf(trigger)
    if (compiled.kind === 'invalid') {
      limited(this.#parts.log, `expressions/${trigger.id}`, LOG_EVERY_MS, this.#parts.clock).error(
        {
          event: 'trigger.not_understood',
          code: 'invalid_filter',
          trigger: trigger.id,
          detail: compiled.reason,
        },
        'an expression of this trigger is not understood by this version; its events stay on Kafka',
      )
      return null
    }
    const onPassedOver = (outcome: string) => this.#parts.metrics.events.inc({ trigger: trigger.id, outcome })
    return new TriggerFollower({ trigger, expressions: compiled.expressions, cursor, onPassedOver })
  }

  #confirmed(cursor: CursorRow): boolean {
    const nowMs = this.#parts.clock.now()
    const name = beyondName(cursor)
    const sinceMs = this.#beyond.get(name)
    if (sinceMs === undefined) this.#beyond.set(name, nowMs)
    if (sinceMs === undefined || nowMs - sinceMs < BEYOND_CONFIRM_MS) return false
    this.#beyond.delete(name)
    return true
  }

  #say(cursor: CursorRow, gap: CursorGap, { low, high }: LogMarks): void {
    const { triggerId: trigger, stream, partition, nextOffset } = cursor
    const lost = gap.kind === 'gap' ? gap.lost : null
    this.#parts.metrics.topicAnomalies.inc({ stream, kind: gap.kind })
    limited(this.#parts.log, `gap/${beyondName(cursor)}`, LOG_EVERY_MS, this.#parts.clock).error(
      {
        event: 'cursor.gap',
        code: gapCodes[gap.kind],
        trigger,
        stream,
        partition,
        next_offset: nextOffset,
        low,
        high,
        lost,
      },
      gapSentences[gap.kind],
    )
  }

  #giveTo(lane: Lane, followers: readonly Follower[]): void {
    // Revoked, or changed, while Postgres and Kafka were asked: the next sweep sees it as it is then.
    if (lane.signal.aborted) return
    const current = new Map(this.#parts.lanes.orphansOf(lane).map(({ id, version }) => [id, version]))
    const wanted = followers.filter(({ trigger }) => current.get(trigger.id) === trigger.version)
    if (lane.idle) {
      const start = laneStart(wanted.map(({ scanned }) => scanned))
      if (start === null) return
      lane.start(start)
    }
    for (const follower of wanted) {
      if (follower.scanned >= lane.position) lane.join(follower)
      else this.#parts.catchUp(follower, lane)
    }
  }
}

const gapSentences = {
  gap: 'retention took events before this trigger saw them',
  recreated: 'the topic was made anew since this cursor saw its last record',
  truncated: 'the end of the log was cut off, and with it what this cursor has seen last',
}
const gapCodes = { gap: 'events_expired', recreated: 'topic_recreated', truncated: 'log_truncated' }

/** Of a log that was cut, what is left was seen; of one that was made anew, nothing: its offsets name other events. */
function pastGap(
  cursor: CursorRow,
  gap: CursorGap,
  { marks, incarnation }: { marks: LogMarks; incarnation: number },
): PastGap {
  if (gap.kind === 'gap') return { nextOffset: marks.low, incarnation: cursor.incarnation, lost: gap.lost }
  if (gap.kind === 'truncated') return { nextOffset: marks.high, incarnation: cursor.incarnation, lost: 0 }
  const next = cursor.incarnation < incarnation ? incarnation : cursor.incarnation + 1
  return { nextOffset: marks.low, incarnation: next, lost: 0 }
}

interface Beginning {
  readonly trigger: LaneTrigger
  readonly partition: number
  readonly marks: LogMarks
}

/** No row at registration: the partition is newer than the trigger, and all that it holds is to be seen. */
function newCursor({ id, stream, version }: LaneTrigger, partition: number, low: number): NewCursor {
  return { triggerId: id, stream, partition, nextOffset: low, version }
}

/** The highest of those that are followed. */
function incarnationOf(rows: Iterable<CursorRow>, partition: number): number {
  let highest = 1
  for (const row of rows)
    if (row.partition === partition && row.status === 'live') highest = Math.max(highest, row.incarnation)
  return highest
}

const cursorName = (triggerId: string, partition: number): string => `${triggerId}/${partition}`
const beyondName = ({ triggerId, stream, partition }: CursorRow): string =>
  `${triggerId}/${stream}/${partition}`

function cursorsByName(rows: readonly CursorRow[]): Map<string, CursorRow> {
  return new Map(rows.map((row) => [cursorName(row.triggerId, row.partition), row]))
}
