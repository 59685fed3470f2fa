import { expect, test } from 'vitest'
import { eventually } from './eventually.ts'

test('it gives what it waited for; a throw on the way counts as not yet', async () => {
  let looks = 0
  const found = await eventually('the third look', () => {
    looks += 1
    if (looks === 1) throw new Error('too early')
    return looks === 3 ? 'here' : null
  })
  expect(found).toBe('here')
})

test('at the deadline it says what was waited for and what was seen last', async () => {
  const waiting = eventually('all runs completed', () => Promise.reject(new Error('3 of 5')), {
    deadlineMs: 1,
  })
  await expect(waiting).rejects.toThrow(/all runs completed; last seen: Error: 3 of 5/)
})
