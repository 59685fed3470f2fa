import { expect, test } from 'vitest'
import { whyInstall } from './bootstrap.mjs'

const a = { version: '1.0.0', integrity: 'sha512-a' }
const lockOf = (packages: Record<string, unknown>): string => JSON.stringify({ lockfileVersion: 3, packages })
const lock = lockOf({ '': {}, 'libs/core': { version: '0.1.0' }, 'node_modules/a': a })

test('nothing is installed when everything of the lockfile is there', () => {
  expect(whyInstall(lock, lockOf({ 'libs/core': { version: '0.1.0' }, 'node_modules/a': a }))).toBeNull()
})

test('without node_modules everything is installed', () => {
  expect(whyInstall(lock, null)).toBe('node_modules is not there yet')
})

test.each([
  ['is missing', {}, 'node_modules/a is not installed'],
  ['has another version', { 'node_modules/a': { ...a, version: '1.0.1' } }, 'node_modules/a has changed'],
  ['has other contents', { 'node_modules/a': { ...a, integrity: 'sha512-b' } }, 'node_modules/a has changed'],
  [
    'was removed',
    { 'node_modules/a': a, 'node_modules/b': a },
    'node_modules/b is no longer in the lockfile',
  ],
])('a package that %s is a reason to install', (_, installed, why) => {
  expect(whyInstall(lock, lockOf(installed))).toBe(why)
})

test('a package for another platform may be missing', () => {
  const other = lockOf({ 'node_modules/a': a, 'node_modules/win': { ...a, optional: true } })
  expect(whyInstall(other, lockOf({ 'node_modules/a': a }))).toBeNull()
})

test('a nested package counts like any other', () => {
  const nested = lockOf({ 'libs/core/node_modules/a': a })
  expect(whyInstall(nested, lockOf({}))).toBe('libs/core/node_modules/a is not installed')
})

test('a record that was cut short is a reason to install', () => {
  expect(whyInstall(lock, '{"packages":')).toBe('node_modules was not installed to the end')
})
