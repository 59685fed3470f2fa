import { encodeEvent } from '@headrace/core'
import { createDatabase, eventually, infra, sendForeign } from '@headrace/testing'
import { expect, it } from 'vitest'
import { numbersIn, Scene, upTo } from './stage/scene.ts'

const EVENTS = 1_200
const GROWN_AT = 400

it('puts every event in one window, also those on partitions that are added while events come', async () => {
  const { brokers, prefix } = await infra()
  const scene = await new Scene({
    brokers,
    prefix,
    databaseUrl: (await createDatabase()).url,
    partitions: 2,
  }).open()
  try {
    await scene.register('b1', [
      { id: 'each', pattern: 'orders/**' },
      { id: 'threes', pattern: 'orders/**', size: 3, timeoutMs: 500 },
    ])
    await scene.start()
    await scene.start()
    let partitions = 2
    for (let from = 0; from < EVENTS; from += 100) {
      if (from === GROWN_AT) {
        await scene.broker.topics.growTopic(scene.topic, 6)
        partitions = 6
      }
      await sendForeign(
        brokers,
        scene.topic,
        upTo(100, from).map((number) => ({
          ...encodeEvent({
            id: `e${number}`,
            source: 'test',
            topic: 'orders/created',
            eventType: null,
            data: number,
            key: `k${number}`,
            time: 0,
            traceparent: null,
            dedup: true,
          }),
          partition: number % partitions,
        })),
      )
    }
    for (const trigger of ['each', 'threes']) {
      const windows = await eventually(`all events are in windows of ${trigger}`, async () => {
        const found = await scene.windows(trigger)
        return numbersIn(found).length >= EVENTS ? found : null
      })
      expect(numbersIn(windows)).toEqual(upTo(EVENTS))
      expect(new Set(windows.map(({ partition }) => partition))).toEqual(new Set(upTo(6)))
      for (const partition of upTo(6)) {
        const offsets = windows.filter((one) => one.partition === partition).flatMap((one) => one.offsets)
        expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
      }
    }
  } finally {
    await scene.end()
  }
})
