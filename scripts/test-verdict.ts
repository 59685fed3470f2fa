/** What a run of tests came to. */
export interface TestCounts {
  passed: number
  /** Names of tests that failed, and of files that could not be loaded. */
  failed: string[]
  /** Tests that were skipped, each with its name and note. */
  skipped: string[]
  /** Errors outside of any test. */
  unhandledErrors: number
}

export interface TestVerdict {
  ok: boolean
  /** Why the run is not ok, a line each. */
  complaints: string[]
  /** The last line of every run. */
  line: string
}

/** A test may be left out only for as long as an issue says why. */
const ISSUE_NUMBER = /#[0-9]+/

/** A run is ok when something ran, nothing failed, and whatever was skipped names its issue. */
export function judge({ passed, failed, skipped, unhandledErrors }: TestCounts): TestVerdict {
  const complaints = skipped
    .filter((name) => !ISSUE_NUMBER.test(name))
    .map((name) => `skipped without an issue number: ${name}`)
  if (passed + failed.length === 0) complaints.push('no test ran')
  if (unhandledErrors > 0) complaints.push(`${unhandledErrors} errors outside of any test`)
  return {
    ok: failed.length === 0 && complaints.length === 0,
    complaints,
    line: `${passed} passed, ${failed.length} failed, ${skipped.length} skipped`,
  }
}
