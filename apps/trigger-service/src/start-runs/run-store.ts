import {
  classify,
  type CursorMove,
  flushWindows,
  newRunIds,
  readRuns,
  type ServerClock,
  type Store,
  type WindowRun,
} from '@headrace/store'

/** What the flusher needs of Postgres. */
export interface RunStore {
  /** All or nothing: rejects, or says which cursor rows moved; the runs of the others were not made. */
  flush(batch: {
    moves: CursorMove[]
    runs: WindowRun[]
  }): Promise<{ moved: readonly { triggerId: string; stream: string; partition: number }[] }>
  /** Which of these runs exist. */
  existing(runIds: readonly string[]): Promise<ReadonlySet<string>>
  /** Time-ordered by Postgres's clock. */
  newRunIds(count: number): string[]
  classify(error: unknown): ReturnType<typeof classify>
}

export function createRunStore(store: Store, serverClock: ServerClock): RunStore {
  return {
    flush: async (batch) => await flushWindows(store, batch),
    existing: async (runIds) => await readRuns(store, [...runIds]),
    newRunIds: (count) => newRunIds(count, serverClock.now()),
    classify,
  }
}
