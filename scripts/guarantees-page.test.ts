import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const root = new URL('../', import.meta.url)
const page = readFileSync(new URL('docs/guarantees.md', root), 'utf8')
const named = new Set([...page.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file = '']) => file))

test('docs/guarantees.md names no test that is not there', () => {
  expect([...named].filter((file) => !existsSync(new URL(file, root)))).toEqual([])
})

test('docs/guarantees.md names every test that kills something', () => {
  const crash = readdirSync(new URL('tests/crash/', root)).filter((file) => file.endsWith('.test.ts'))
  expect(crash.map((file) => `tests/crash/${file}`).filter((file) => !named.has(file))).toEqual([])
})

test('docs/guarantees.md speaks of each promise once, in their order', () => {
  const promises = [...page.matchAll(/^## (P\d) /gm)].map(([, promise]) => promise)
  expect(promises).toEqual(['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7', 'P8', 'P9'])
})
