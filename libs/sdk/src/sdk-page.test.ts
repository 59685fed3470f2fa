import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import * as sdk from './index.ts'

const run = promisify(execFile)
const repository = fileURLToPath(new URL('../../../', import.meta.url))
const page = await readFile(join(repository, 'docs', 'sdk.md'), 'utf8')

/**
 * What tsc says of the program itself, as strict as a user may be; what it says of the SDK's sources, which it reads on
 * the way, is their own check's. In the repository, so that packages are found.
 */
async function typeCheck(program: string): Promise<string[]> {
  const cache = join(repository, '.cache')
  await mkdir(cache, { recursive: true })
  const folder = await mkdtemp(join(cache, 'sdk-page-'))
  try {
    const config = {
      extends: join(repository, 'tsconfig.base.json'),
      compilerOptions: { composite: false, declaration: false, noEmit: true, rootDir: repository },
      files: ['page.ts'],
    }
    await writeFile(join(folder, 'page.ts'), program)
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
    const said = await run(join(repository, 'node_modules', '.bin', 'tsc'), ['--project', folder]).then(
      ({ stdout }) => stdout,
      ({ stdout }: { stdout: string }) => stdout,
    )
    return said.split('\n').filter((line) => line.includes('/page.ts('))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

test('the check sees what it is there for', async () => {
  const wrong = "import { workflow } from '@headrace/sdk'\nexport const w = workflow({ id: 7 }, () => null)\n"
  expect(await typeCheck(wrong)).not.toEqual([])
})

test('the examples of docs/sdk.md are one program that type-checks', async () => {
  const blocks = [...page.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, block = '']) => block)
  expect(blocks.length).toBeGreaterThan(3)
  expect(await typeCheck(blocks.join('\n'))).toEqual([])
})

test('docs/sdk.md has everything that the SDK exports to be called, thrown or made', () => {
  const missing = Object.keys(sdk).filter(
    (name) => !page.includes(`\`${name}`) && !page.includes(`new ${name}(`),
  )
  expect(missing).toEqual([])
})

test('docs/sdk.md names each error with its code', () => {
  const documented = Object.fromEntries(
    [...page.matchAll(/^\| `(\w+Error)` +\| `(\w+)` +\|/gm)].map(([, name = '', code]) => [name, code]),
  )
  const made = [
    new sdk.NonRetryableError(''),
    new sdk.RetryAfterError('', 1),
    new sdk.StepFailedError({ stepKey: '', attempts: 1, cause: new Error('cause') }),
    new sdk.WaitTimeoutError({ stepKey: '', topic: '', timeoutMs: 0 }),
    new sdk.ChildRunError({ stepKey: '', runId: '', status: 'failed', error: null }),
    new sdk.StepOutputError({ path: '', detail: '' }),
    new sdk.LimitExceededError({ limit: '', message: '' }),
    new sdk.SchemaValidationError('', []),
    new sdk.RunCancelledError({ runId: '', detail: '' }),
    new sdk.DuplicateStepKeyError(''),
    new sdk.ReplayMismatchError({ stepKey: '', storedKind: '', calledKind: '' }),
    new sdk.RunFailedError({ runId: '', status: 'failed', error: null }),
    new sdk.RunNotEndedError({ runId: '', status: 'queued' }),
  ]
  expect(documented).toEqual(Object.fromEntries(made.map((error) => [error.name, error.code])))
})
