import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { RequestQueue } from './kafkajs-internals.ts'
import { applyPatches } from './patches.ts'

function queueWith(pending: unknown[], throttledUntil: number): RequestQueue {
  const queue = Object.create(RequestQueue.prototype) as RequestQueue
  return Object.assign(queue, { pending, throttledUntil, throttleCheckTimeoutId: null })
}

describe("the timer of kafkajs's request queue", () => {
  beforeEach(() => vi.useFakeTimers())
  afterEach(() => vi.useRealTimers())

  it('is not armed with nothing pending, nor where the next answer sends what is pending', () => {
    applyPatches()
    queueWith([], -1).scheduleCheckPendingRequests()
    queueWith([{}], -1).scheduleCheckPendingRequests()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('sends what is pending when the broker stops throttling', () => {
    applyPatches()
    const queue = queueWith([{}], Date.now() + 300)
    const check = vi.fn<() => void>()
    queue.checkPendingRequests = check
    queue.scheduleCheckPendingRequests()
    queue.scheduleCheckPendingRequests()
    vi.advanceTimersByTime(299)
    expect(check).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(check).toHaveBeenCalledOnce()
  })
})
