import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { KNOWN_SETTINGS } from './setting-names.ts'

const repository = fileURLToPath(new URL('../../../', import.meta.url))

test('every setting that is known is read somewhere, and none is read that is not known', () => {
  const files = globSync('{apps,libs}/*/src/**/*.ts', { cwd: repository }).filter(
    (file) => !/\.test\.|setting-names|\/(fakes|stage)\/|libs\/testing/.test(file),
  )
  const read = files.flatMap((file) =>
    [...readFileSync(`${repository}${file}`, 'utf8').matchAll(/HEADRACE_[A-Z_]+[A-Z]/g)].map(
      ([name]) => name,
    ),
  )
  const used = [...new Set(read)].filter((name) => name !== 'HEADRACE_TEST')
  expect(used.toSorted()).toEqual([...KNOWN_SETTINGS].toSorted())
})
