import type { CursorGap } from '@headrace/core'
import {
  type CursorMove,
  type CursorRow,
  type NewProjection,
  type PastGap,
  type ProjectionGap,
  projectionTriggerId,
  type WindowRun,
} from '@headrace/store'
import type { CursorStore, NewCursor } from '../lanes/adoption.ts'
import type { GapStore } from '../projection/gap-reader.ts'
import type { RunStore } from '../start-runs/run-store.ts'

/** What Postgres does to the next flush, and then no more. */
export type Trouble =
  /** The connection breaks before the statement is run. */
  | 'lost_before'
  /** The statement is committed, and the answer is lost. */
  | 'lost_after'
  | 'deadlock'

class Fault extends Error {
  readonly fault: ReturnType<RunStore['classify']>
  constructor(fault: ReturnType<RunStore['classify']>) {
    super(fault)
    this.fault = fault
  }
}

/** The rule of the flush statement in memory, for tests of what goes around it: compare-and-set, all or nothing. */
export class FakePostgres implements RunStore, CursorStore {
  readonly cursors = new Map<string, CursorRow>()
  readonly runs: WindowRun[] = []
  readonly projections: NewProjection[] = []
  /** From when on somebody waits for the stream; null: nobody, or no earlier than it is projected. */
  wantedFrom: number | null = null
  readonly troubles: Trouble[] = []
  /** Inputs that fail their row. */
  refuses: (run: WindowRun) => boolean = () => false
  flushes = 0
  #ids = 0

  add(row: Pick<CursorRow, 'triggerId' | 'partition' | 'nextOffset'> & Partial<CursorRow>): CursorRow {
    const cursor: CursorRow = {
      stream: 'orders',
      incarnation: 1,
      done: '{}',
      revision: 0,
      version: 1,
      lastOffset: null,
      lastTs: null,
      lastId: null,
      status: 'live',
      reason: null,
      lost: 0,
      open: null,
      ...row,
    }
    this.cursors.set(nameOf(cursor), cursor)
    return cursor
  }

  cursor(triggerId: string, partition = 0): CursorRow {
    const row = this.cursors.get(nameOf({ triggerId, stream: 'orders', partition }))
    if (row === undefined) throw new Error(`there is no cursor of ${triggerId}`)
    return row
  }

  /** Offsets of each window that became a run, in the order in which they were stored. */
  windows(triggerId: string, partition = 0): number[][] {
    return this.runs
      .filter((run) => run.triggerId === triggerId && run.partition === partition)
      .map(({ input }) =>
        (JSON.parse(input) as { events: { sequence_id: number }[] }).events.map((e) => e.sequence_id),
      )
  }

  flush({ moves, runs }: { moves: CursorMove[]; runs: WindowRun[] }) {
    this.flushes += 1
    const trouble = this.troubles.shift()
    if (trouble === 'lost_before') return Promise.reject(new Fault('outage'))
    if (trouble === 'deadlock') return Promise.reject(new Fault('retry'))
    if (runs.some((run) => this.refuses(run))) return Promise.reject(new Fault('row'))
    const moved = moves.filter((move) => {
      const row = this.cursors.get(nameOf(move))
      return row?.revision === move.revision && row.version === move.version && row.status === 'live'
    })
    const names = new Set(moved.map(nameOf))
    for (const { triggerId, stream, partition, nextOffset, done, lastOffset, lastTs, lastId } of moved) {
      const row = this.cursor(triggerId, partition)
      const revision = row.revision + 1
      this.cursors.set(nameOf({ triggerId, stream, partition }), {
        ...row,
        nextOffset,
        done,
        lastOffset,
        lastTs,
        lastId,
        revision,
      })
    }
    this.runs.push(...runs.filter((run) => names.has(nameOf(run))))
    if (trouble === 'lost_after') return Promise.reject(new Fault('outage'))
    return Promise.resolve({ moved })
  }

  existing(runIds: readonly string[]) {
    const known = new Set(this.runs.map(({ runId }) => runId))
    return Promise.resolve(new Set(runIds.filter((id) => known.has(id))))
  }

  newRunIds(count: number): string[] {
    return Array.from({ length: count }, () => `run-${(this.#ids += 1)}`)
  }

  classify(error: unknown): ReturnType<RunStore['classify']> {
    return error instanceof Fault ? error.fault : 'bug'
  }

  loadCursors(stream: string, partitions: number[]) {
    return Promise.resolve(
      [...this.cursors.values()].filter((row) => row.stream === stream && partitions.includes(row.partition)),
    )
  }

  createCursors(rows: readonly NewCursor[]) {
    for (const row of rows) if (!this.cursors.has(nameOf(row))) this.add(row)
    return Promise.resolve()
  }

  createProjections(rows: readonly NewProjection[]) {
    for (const row of rows) {
      const { stream, partition, fromOffset } = row
      const cursor = { triggerId: projectionTriggerId, stream, partition, nextOffset: fromOffset }
      if (this.cursors.has(nameOf(cursor))) continue
      this.add(cursor)
      this.projections.push(row)
    }
    return Promise.resolve()
  }

  readonly gaps: GapStore = {
    listGaps: () => Promise.resolve(this.#gaps()),
    extend: (gap, { fromOffset }) => {
      const at = this.projections.findIndex(
        (row) => row.partition === gap.partition && row.fromOffset === gap.fromOffset,
      )
      const row = this.projections[at]
      if (row === undefined || row.projectedFrom <= gap.wantedFrom) return Promise.resolve(false)
      this.projections[at] = { ...row, fromOffset, projectedFrom: gap.wantedFrom }
      return Promise.resolve(true)
    },
  }

  #gaps(): ProjectionGap[] {
    const wantedFrom = this.wantedFrom
    if (wantedFrom === null) return []
    return this.projections
      .filter(({ projectedFrom }) => projectedFrom > wantedFrom)
      .map(({ stream, partition, fromOffset }) => ({
        stream,
        partition,
        incarnation: 1,
        fromOffset,
        wantedFrom,
      }))
  }

  stopCursor(cursor: CursorRow, gap: CursorGap) {
    const lost = gap.kind === 'gap' ? gap.lost : 0
    return this.#change(cursor, { status: 'stopped', reason: gap.kind, lost: cursor.lost + lost })
  }

  passGap(cursor: CursorRow, { nextOffset, incarnation, lost }: PastGap) {
    const forgotten = { done: '{}', lastOffset: null, lastTs: null, lastId: null }
    const moved = { nextOffset, incarnation, lost: cursor.lost + lost }
    return this.#change(cursor, lost > 0 ? moved : { ...moved, ...forgotten })
  }

  #change(cursor: CursorRow, change: Partial<CursorRow>) {
    const isAsRead = this.cursors.get(nameOf(cursor))?.revision === cursor.revision
    if (isAsRead) this.cursors.set(nameOf(cursor), { ...cursor, ...change, revision: cursor.revision + 1 })
    return Promise.resolve(isAsRead)
  }
}

function nameOf({
  triggerId,
  stream,
  partition,
}: {
  triggerId: string
  stream: string
  partition: number
}): string {
  return `${triggerId}/${stream}/${partition}`
}
