import { deadLettersTopic } from '@headrace/broker'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Scene } from './stage/scene.ts'

let scene: Scene
beforeAll(async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  scene = await new Scene({ brokers, partitions: 1, prefix, databaseUrl }).open()
})
afterAll(async () => {
  await scene.end()
})

const windowsOf = async (count: number): Promise<unknown[]> =>
  await eventually(`${count} windows`, async () => {
    const windows = await scene.windows('thirds')
    return windows.length >= count ? windows.map(({ data }) => data) : null
  })

it('cuts windows by key of what the filter lets through, goes on with those that were open, and sets aside what fails', async () => {
  await scene.register('b1', [
    {
      id: 'thirds',
      pattern: 'orders/created',
      size: 3,
      timeoutMs: 3_600_000,
      key: 'event.data % 3',
      if: 'event.data != 4',
    },
  ])
  const first = await scene.start()
  await scene.publish(10)
  expect(await windowsOf(2)).toEqual([
    [0, 3, 6],
    [2, 5, 8],
  ])
  await scene.stop(first)
  // 4 was passed over and stands for itself no more; 1, 7 and 9 wait.
  expect(await scene.cursor('thirds')).toMatchObject({ next_offset: 1, done: '{[2,7),[8,9)}' })

  await scene.start()
  await scene.send([{ id: 'no number' }])
  await scene.publish(6)
  // In the order of their first events; 11 and 14, and 13, wait for more.
  expect(await windowsOf(4)).toEqual([
    [0, 3, 6],
    [1, 7, 10],
    [2, 5, 8],
    [9, 12, 15],
  ])
  const { brokers } = await infra()
  const letters = await readTopic(brokers, deadLettersTopic(scene.prefix).name)
  expect(letters.map(({ headers }) => [headers['reason'], headers['trigger_id'], headers['offset']])).toEqual(
    [['key_error', 'thirds', '10']],
  )
})
