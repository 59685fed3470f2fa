/**
 * What a test file started ends with the file, also when a test failed. Vitest loads this module anew for each
 * file, while it collects it, so hooks registered here are the file's own, and run after those of the file.
 */

interface Ending {
  name: string
  end: () => Promise<void>
}

const endings: Ending[] = []
const reporters: (() => string)[] = []

/** `end` is called when the file has ended, in reverse order of registration. */
export function atFileEnd(name: string, end: () => Promise<void>): void {
  endings.push({ name, end })
}

/** What `report` returns is printed after a test that failed. */
export function onFailureSay(report: () => string): void {
  reporters.push(report)
}

/** Called by the hook; and by programs that use this library outside of vitest. */
export async function endEverything(): Promise<void> {
  const failures: unknown[] = []
  for (let next = endings.pop(); next !== undefined; next = endings.pop()) {
    await next.end().catch((error: unknown) => failures.push(error))
  }
  if (failures.length > 0)
    throw new AggregateError(failures, 'what the test file started could not all be ended')
}

if (process.env['VITEST_WORKER_ID'] !== undefined) {
  const { afterAll, afterEach } = await import('vitest')
  afterAll(endEverything)
  afterEach(({ task }) => {
    if (task.result?.state !== 'fail') return
    for (const report of reporters) process.stderr.write(report())
  })
}
