import { expect, test } from 'vitest'
import { judge } from './test-verdict.ts'

const fine = { passed: 3, failed: [], skipped: [], unhandledErrors: 0 }

test('a run in which everything passed is ok', () => {
  expect(judge(fine)).toEqual({ ok: true, complaints: [], line: '3 passed, 0 failed, 0 skipped' })
})

test('a failed test fails the run', () => {
  expect(judge({ ...fine, failed: ['a'] })).toMatchObject({
    ok: false,
    line: '3 passed, 1 failed, 0 skipped',
  })
})

test('a run without tests fails', () => {
  expect(judge({ ...fine, passed: 0 })).toMatchObject({ ok: false, complaints: ['no test ran'] })
})

test('a skipped test is let pass only with the number of its issue', () => {
  expect(judge({ ...fine, skipped: ['slow one (#12)'] }).ok).toBe(true)
  expect(judge({ ...fine, skipped: ['slow one'] })).toMatchObject({
    ok: false,
    complaints: ['skipped without an issue number: slow one'],
  })
})

test('an error outside of any test fails the run', () => {
  expect(judge({ ...fine, unhandledErrors: 1 }).ok).toBe(false)
})
