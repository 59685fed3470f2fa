import { partitionName } from './partitions.ts'
import { dayMs, runIdTime } from './run-id.ts'
import { type Statement, statement } from './statement.ts'

/** What a statement calls the tables of runs and steps. */
export interface RunTables {
  runs: string
  steps: string
}

/**
 * A hot statement in a form for each day, which names that day's partitions itself: nearly all batches are of runs of
 * one day. By way of the parent tables it opens, locks and searches every partition there is with all their indexes
 * (five days: 0.9 ms before the first row of an update; a month of them costs more than the work), and bounds on the id
 * would break the check after a lock wait (claim-runs).
 *
 * Whoever runs it must be ready for `undefined_table`: the partition may not have been made yet, or not be there any
 * more. The form of the parents ({@link runTables}) then says what is so.
 */
export function dayStatement(
  name: string,
  text: (tables: RunTables) => string,
): (dayMs: number) => Statement {
  const made = new Map<number, Statement>()
  return (day) => {
    const known = made.get(day)
    if (known) return known
    const tables = { runs: partitionName('runs', day), steps: partitionName('steps', day) }
    const one = statement(`${tables.runs}_${name}`, text(tables), name)
    // Old days come back now and then; their few statements are not worth more than this.
    if (made.size >= statementsKeptMax) made.clear()
    made.set(day, one)
    return one
  }
}

const statementsKeptMax = 100

/** The parents: right for any days, and for runs of none. */
export const runTables: RunTables = { runs: 'runs', steps: 'steps' }

/** Items by the UTC day that their run's id was made on, ms since 1970; null: an id that tells none. */
export function byDay<Item>(
  items: readonly Item[],
  idOf: (item: Item) => string,
): Map<number | null, Item[]> {
  const days = new Map<number | null, Item[]>()
  for (const item of items) {
    const day = dayOf(idOf(item))
    const same = days.get(day)
    if (same) same.push(item)
    else days.set(day, [item])
  }
  return days
}

/** 9999: what is later is no day of a partition's name. */
const dayMax = Date.UTC(9999, 11, 31)

function dayOf(runId: string): number | null {
  const timeMs = runIdTime(runId)
  return timeMs >= 0 && timeMs <= dayMax ? Math.floor(timeMs / dayMs) * dayMs : null
}

/** A statement named a partition that is not there. */
export const isUndefinedTable = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === '42P01'
