import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { linkSettings } from '../broker-config.ts'
import { Cluster } from '../wire/cluster.ts'
import { type Generation, GroupMember } from './group-member.ts'
import { createLanedConsumer } from './laned-consumer.ts'

const settings = linkSettings({
  brokers: ['127.0.0.1:1'],
  clientId: 'test',
  logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
})
const topics = new Map([['t', { status: 'known' as const, leaders: [1], replicas: 1 }]])
const dealt = (partitions: number[]): Generation => ({
  generation: 1,
  isLeader: false,
  assignment: { t: partitions },
  counts: { t: 1 },
})
const LONGER_THAN_SILENT_MS = 60_000

beforeEach(() => {
  vi.useFakeTimers()
  vi.spyOn(Cluster.prototype, 'metadata').mockResolvedValue({ brokers: [], controller: 1, topics })
  vi.spyOn(GroupMember.prototype, 'heartbeat').mockResolvedValue('fine')
  vi.spyOn(GroupMember.prototype, 'leave').mockResolvedValue()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

function consumer() {
  const crashes: string[] = []
  const lanes: number[] = []
  const made = createLanedConsumer(settings, {
    groupId: 'g',
    topics: ['t'],
    fromBeginning: true,
    // Never said: nothing is fetched.
    onAssigned: async () => await Promise.withResolvers<never>().promise,
    lane: ({ partition }) => {
      lanes.push(partition)
      return { push: () => 'full', isFull: () => true }
    },
    onCrash: (error) => crashes.push(String(error)),
  })
  return { made, crashes, lanes }
}

describe('the watchdog', () => {
  it('begins a consumer anew that shows no sign of life, and its first life can do no more harm', async () => {
    const first = Promise.withResolvers<Generation>()
    const join = vi
      .spyOn(GroupMember.prototype, 'join')
      .mockReturnValueOnce(first.promise)
      .mockResolvedValue(dealt([0]))
    const { made, crashes, lanes } = consumer()
    made.start()
    await vi.advanceTimersByTimeAsync(LONGER_THAN_SILENT_MS)
    expect(join).toHaveBeenCalledTimes(2)
    expect(crashes).toEqual(['Error: the consumer was silent'])
    expect(made.state).toBe('running')
    first.resolve(dealt([1, 2, 3]))
    await vi.advanceTimersByTimeAsync(LONGER_THAN_SILENT_MS)
    expect(lanes).toEqual([0])
    expect(made.assignment).toEqual([{ topic: 't', partitions: [0] }])
    await made.stop()
  })

  it('leaves alone a consumer whose heartbeats go on, however long nothing else happens', async () => {
    const join = vi.spyOn(GroupMember.prototype, 'join').mockResolvedValue(dealt([0]))
    const { made, crashes } = consumer()
    made.start()
    await vi.advanceTimersByTimeAsync(10 * LONGER_THAN_SILENT_MS)
    expect(join).toHaveBeenCalledTimes(1)
    expect(crashes).toEqual([])
    await made.stop()
  })
})
