import { expect, test } from 'vitest'
import { activityLines } from './activity-lines.ts'

const event = (sequenceId: number) => ({ topic: 'orders/created', partition: 0, sequenceId, id: 'e' })

test('a flood is cut to 50 lines a second, and what was cut is counted though nothing follows', () => {
  const lines: string[] = []
  let nowMs = 1_000_000
  let tick: (() => void) | null = null
  const clock = {
    now: () => nowMs,
    every: (_ms: number, fn: () => void) => {
      tick = fn
      return () => {
        tick = null
      }
    },
  }
  const activity = activityLines((line) => lines.push(line), clock)
  for (let n = 0; n < 80; n += 1) activity.eventAccepted?.(event(n))
  expect(lines).toHaveLength(50)
  nowMs += 1_000
  ;(tick as (() => void) | null)?.()
  expect(lines.at(-1)).toMatch(/… and 30 more$/)
  expect(tick).toBe(null)
  activity.runEnded?.({ runId: 'r', workflow: 'w', status: 'completed', ms: 5 })
  expect(lines.at(-1)).toMatch(/run {4}w completed after 5 ms {2}r$/)
  expect(lines).toHaveLength(52)
})
