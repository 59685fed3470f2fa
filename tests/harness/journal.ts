import { appendFileSync, existsSync, readFileSync } from 'node:fs'

/**
 * What bodies did, as they did it: one line each, appended in one write, so that lines of several processes never mix
 * and a killed process loses none that it wrote. A reader may meet the last line half written: a file grows page by
 * page, and only the line's end says that all of it is there.
 */
export interface JournalEntry {
  /** `body`: a step's body began. `rerun`: it began although its result was stored. `handler`: the workflow began. */
  what: 'handler' | 'body' | 'rerun'
  workflow: string
  run: string
  step: string | null
  pid: number
  /** What the workflow saw of its events. */
  sequenceIds: number[]
  at: number
}

export function writeJournal(file: string, entry: JournalEntry): void {
  appendFileSync(file, `${JSON.stringify(entry)}\n`)
}

export function readJournal(file: string): JournalEntry[] {
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line): JournalEntry => JSON.parse(line))
}
