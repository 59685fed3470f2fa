import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { KNOWN_SETTINGS } from './setting-names.ts'

const page = readFileSync(new URL('../../../docs/settings.md', import.meta.url), 'utf8')
const documented = [...page.matchAll(/^\| `(HEADRACE_\w+)` +\|/gm)].map(([, name = '']) => name)

test('docs/settings.md explains every setting that is known, each in one place, and no other', () => {
  expect(documented.toSorted()).toEqual([...KNOWN_SETTINGS].toSorted())
})

test('docs/settings.md names no setting in passing that does not exist', () => {
  const known: ReadonlySet<string> = new Set(KNOWN_SETTINGS)
  const named = [...page.matchAll(/HEADRACE_\w*\w/g)].map(([name]) => name)
  const unknown = named.filter((name) => !known.has(name) && !/^HEADRACE_(TEST_\w*)?$/.test(name))
  expect(unknown).toEqual([])
})
