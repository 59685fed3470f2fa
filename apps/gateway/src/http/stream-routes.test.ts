import { BoundStreams } from '@headrace/broker'
import { createAuthorize, createHttpServer } from '@headrace/http'
import { createMetrics, silentLogger } from '@headrace/service'
import { expect, test } from 'vitest'
import { type StreamParts, streamRoutes } from './stream-routes.ts'

test('a stream that is deleted while the list is made is left out of it, and alone is not found', async () => {
  const topics = {
    list: () => Promise.resolve(['p.events.gone', 'p.events.orders']),
    describe: ([topic]: string[]) => {
      const gone = topic === 'p.events.gone'
      return Promise.resolve({
        known: new Map(gone ? [] : [[topic, { partitions: 1 }]]),
        failed: new Map(gone ? [[topic, 'unknown_topic']] : []),
      })
    },
    configs: () => Promise.resolve(new Map()),
  }
  const app = createHttpServer({
    log: silentLogger,
    metrics: createMetrics(),
    name: 'gateway',
    authorize: createAuthorize('open'),
  })
  const parts = {
    broker: { topics, offsets: () => Promise.resolve(new Map([[0, { low: 0, high: 7 }]])) },
    prefix: 'p',
    bindings: { streams: new BoundStreams('p') },
    ask: { get: () => Promise.resolve(null) },
  } as unknown as StreamParts
  await app.register(streamRoutes(parts))
  const list = await app.inject({ url: '/v1/streams' })
  expect([list.statusCode, list.json()]).toMatchObject([
    200,
    { data: [{ name: 'orders' }], next_cursor: null },
  ])
  expect((await app.inject({ url: '/v1/streams/gone' })).json()).toMatchObject({ code: 'stream_not_found' })
  await app.close()
})
