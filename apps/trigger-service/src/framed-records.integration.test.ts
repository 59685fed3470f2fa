import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { deadLettersTopic } from '@headrace/broker'
import { openRegistry } from '@headrace/registry'
import { createDatabase, eventually, infra, readTopic, startOwnSchemaRegistry } from '@headrace/testing'
import avro from 'avsc'
import protobuf from 'protobufjs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Scene } from './stage/scene.ts'

const order: avro.Schema = {
  type: 'record',
  name: 'Order',
  fields: [
    { name: 'no', type: 'long' },
    { name: 'price', type: { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 } },
    { name: 'note', type: ['null', 'string'] },
  ],
}
const PROTO =
  'syntax = "proto3"; message Other { int32 x = 1; } message Order { int64 no = 1; string note = 2; }'
const schemas = new Map<number, object>([
  [1, { schema: JSON.stringify(order) }],
  [2, { schema: '{"type":"object"}', schemaType: 'JSON' }],
  [3, { schema: PROTO, schemaType: 'PROTOBUF' }],
])

/** As much of a registry as is asked here; what it is asked for, and whether it is up, is the test's to say. */
let registry: Server
let isUp = false
const asked: string[] = []
let scene: Scene
beforeAll(async () => {
  registry = createServer((request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    const found = schemas.get(Number(path.split('/').at(-1)))
    const [status, body] = !isUp
      ? [503, {}]
      : found === undefined
        ? [404, { error_code: 40403 }]
        : [200, found]
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve))
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const schemaRegistry = openRegistry(`http://127.0.0.1:${(registry.address() as AddressInfo).port}`)
  scene = await new Scene({ brokers, partitions: 1, prefix, databaseUrl, schemaRegistry }).open()
})
afterAll(async () => {
  await scene.end()
  registry.close().closeAllConnections()
})

function framed(id: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeInt32BE(id, 1)
  return Buffer.concat([head, payload])
}

async function write(values: (Buffer | string)[], into = scene, partition = 0): Promise<void> {
  const producer = into.broker.producer()
  const records = values.map((value, index) => ({
    topic: into.topic,
    partition,
    key: null,
    value,
    headers: { ce_id: `e${index}`, ce_source: 'test', ce_subject: 'orders/created' },
  }))
  for (const { status } of await producer.produce(records, { deadlineMs: 60_000 }))
    expect(status).toBe('written')
  await producer.close()
}

it('reads framed and plain records by their schemas; while the registry is away its lane waits, and what it never had is set aside alone', async () => {
  await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
  await scene.start()
  const avroBytes = avro.Type.forSchema(order).toBuffer({
    no: 1,
    price: Buffer.from([0x04, 0xd2]),
    note: 'n',
  })
  const message = protobuf.parse(PROTO, { keepCase: true }).root.lookupType('Order')
  await write([
    '{"no":0}',
    framed(1, avroBytes),
    framed(2, Buffer.from('{"no":2}')),
    // The second message of its file.
    framed(3, Buffer.concat([Buffer.from([2, 2]), message.encode({ no: 3, note: 'p' }).finish()])),
    framed(404, Buffer.from([0])),
    framed(1, Buffer.from([0xff])),
    '{"no":6}',
  ])
  await eventually('the registry is asked, and asked again', () => asked.length > 6)
  expect(await scene.windows('each')).toEqual([])
  isUp = true
  const windows = await eventually('all that can be read has run', async () => {
    const found = await scene.windows('each')
    return found.length >= 5 ? found : null
  })
  expect(windows.flatMap(({ data }) => data)).toEqual([
    { no: 0 },
    { no: 1, price: '12.34', note: 'n' },
    { no: 2 },
    { no: 3, note: 'p' },
    { no: 6 },
  ])
  const { brokers } = await infra()
  const letters = await readTopic(brokers, deadLettersTopic(scene.prefix).name)
  expect(letters.map(({ headers }) => [headers['reason'], headers['offset']])).toEqual([
    ['unknown_schema', '4'],
    ['undecodable', '5'],
  ])
})

it('reads by what it knows while the registry is away', async () => {
  isUp = false
  const before = asked.length
  await write([framed(2, Buffer.from('{"no":7}'))])
  await eventually('it has run', async () => (await scene.windows('each')).length === 6)
  expect(asked.length).toBe(before)
})

/** Two starts of a registry, each of which may take its 120 s. */
const DEADLINE_MS = 300_000

it(
  'loses and sets aside nothing while a real registry is killed and comes back; other partitions go on',
  async () => {
    const own = await startOwnSchemaRegistry()
    const register = async (subject: string, body: object): Promise<number> => {
      const answer = await fetch(`${own.url}/subjects/${subject}/versions`, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
        body: JSON.stringify(body),
      })
      return ((await answer.json()) as { id: number }).id
    }
    const { brokers } = await infra()
    const { url: databaseUrl } = await createDatabase()
    const prefix = `${scene.prefix}o`
    const there = await new Scene({
      brokers,
      partitions: 2,
      prefix,
      databaseUrl,
      schemaRegistry: openRegistry(own.url),
    }).open()
    const line = { type: 'record', name: 'shop.Line', fields: [{ name: 'sku', type: 'string' }] }
    await register('line', { schema: JSON.stringify(line) })
    const holder = { type: 'record', name: 'shop.Holder', fields: [{ name: 'line', type: 'shop.Line' }] }
    const references = [{ name: 'shop.Line', subject: 'line', version: 1 }]
    const referring = await register('holder', { schema: JSON.stringify(holder), references })
    const proto = await register('proto', { schema: PROTO, schemaType: 'PROTOBUF' })
    await there.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await there.start()
    await write([framed(referring, Buffer.from([2, 0x78]))], there)
    await eventually('what it was there for has run', async () => (await there.windows('each')).length === 1)

    await own.kill()
    await own.refused()
    const late = Array.from({ length: 500 }, (_, n) => [
      framed(proto, Buffer.from([2, 2, 8, n % 100])),
      framed(referring, Buffer.from([2, 0x79])),
    ])
    await write(late.flat(), there)
    await write(['{"plain":true}'], there, 1)
    await eventually('the other partition goes on', async () => (await there.windows('each')).length === 2)
    await own.start()
    const windows = await eventually('all has run', async () => {
      const found = await there.windows('each')
      return found.length === 1_002 ? found : null
    })
    expect(windows[0]?.data).toEqual([{ line: { sku: 'x' } }])
    expect(windows[1]?.data).toEqual([{ no: 0, note: '' }])
    await expect(readTopic(brokers, deadLettersTopic(prefix).name)).resolves.toEqual([])
    await there.end()
  },
  DEADLINE_MS,
)
