/**
 * `npm test`: every project of vitest.config.ts, or what the arguments choose (`npm test -- tests/e2e/x.test.ts`,
 * `npm test -- --project unit`). The last line is always `N passed, N failed, N skipped`.
 */
import { parseCLI, startVitest, type Reporter, type TestModule } from 'vitest/node'
import { judge, type TestCounts } from './test-verdict.ts'

const counts: TestCounts = { passed: 0, failed: [], skipped: [], unhandledErrors: 0 }
let interrupted = false

const counting: Reporter = {
  onTestRunEnd(modules, unhandledErrors, reason) {
    counts.unhandledErrors = unhandledErrors.length
    interrupted = reason === 'interrupted'
    for (const module of modules) count(module)
  },
}

function count(module: TestModule): void {
  const failedBefore = counts.failed.length
  for (const test of module.children.allTests()) {
    const result = test.result()
    if (result.state === 'passed') counts.passed += 1
    else if (result.state === 'failed') counts.failed.push(test.fullName)
    else counts.skipped.push(`${test.fullName} ${'note' in result ? (result.note ?? '') : ''}`.trim())
  }
  // A file that could not be loaded, or whose hooks failed, has no failed test to show for it.
  if (!module.ok() && counts.failed.length === failedBefore) counts.failed.push(module.moduleId)
}

const { filter, options } = parseCLI(['vitest', 'run', ...process.argv.slice(2)])
const vitest = await startVitest('test', filter, {
  ...options,
  watch: false,
  passWithNoTests: true,
  reporters: ['default', counting],
})
await vitest.close()

const { ok, complaints, line } = judge(counts)
if (interrupted) complaints.push('the run was interrupted')
for (const complaint of complaints) console.log(complaint)
console.log(line)
process.exit(ok && !interrupted ? 0 : 1)
