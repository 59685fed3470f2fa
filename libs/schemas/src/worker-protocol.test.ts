import { expect, test } from 'vitest'
import { heartbeatRequestSchema } from './index.ts'

const run_id = '0193a5c0-1111-7abc-9000-0123456789ab'
const beat = {
  worker_id: 'w1',
  status: 'live',
  partitions: [0, 2 ** 31 - 1],
  runs: [{ run_id, epoch: 2 ** 31 - 1 }],
  stealing: false,
  stalled_ms: 1.5,
}

test('a heartbeat has no number that Postgres cannot keep', () => {
  expect(heartbeatRequestSchema.safeParse(beat).success).toBe(true)
  for (const beyond of [
    { partitions: [2 ** 31] },
    { runs: [{ run_id, epoch: 2 ** 31 }] },
    { stalled_ms: Number.MAX_VALUE },
  ])
    expect(heartbeatRequestSchema.safeParse({ ...beat, ...beyond }).success).toBe(false)
})
