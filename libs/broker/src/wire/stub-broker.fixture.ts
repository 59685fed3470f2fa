import { createServer, type Server, type Socket } from 'node:net'

/** A partition's part of a produce request, as it came over the wire. */
export interface StubBatch {
  readonly topic: string
  readonly partition: number
  readonly producerId: bigint
  readonly firstSequence: number
  readonly records: number
}

interface StubAnswer {
  readonly topic: string
  readonly partition: number
  readonly errorCode: number
  readonly baseOffset: number
}

/** What the stub does with a produce request: answers, or cuts the connection. */
type StubReaction = readonly StubAnswer[] | 'cut'

interface StubTopic {
  readonly name: string
  readonly errorCode: number
  readonly partitions: number
}

/** API key → the version the stub speaks. */
const VERSIONS = new Map([
  [0, 7],
  [3, 6],
  [18, 2],
  [22, 1],
])

/** Builds Kafka's big-endian primitives. */
class Bytes {
  readonly #parts: Buffer[] = []

  int16(value: number): this {
    const part = Buffer.alloc(2)
    part.writeInt16BE(value)
    this.#parts.push(part)
    return this
  }

  int32(value: number): this {
    const part = Buffer.alloc(4)
    part.writeInt32BE(value)
    this.#parts.push(part)
    return this
  }

  int64(value: number): this {
    const part = Buffer.alloc(8)
    part.writeBigInt64BE(BigInt(value))
    this.#parts.push(part)
    return this
  }

  int8(value: number): this {
    this.#parts.push(Buffer.of(value))
    return this
  }

  text(value: string): this {
    this.int16(Buffer.byteLength(value))
    this.#parts.push(Buffer.from(value))
    return this
  }

  list<T>(items: readonly T[], write: (item: T) => void): this {
    this.int32(items.length)
    for (const item of items) write(item)
    return this
  }

  done(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

/** One broker that says what a test wants it to say: for faults that a real Kafka cannot be brought to on command. */
export class StubBroker {
  topics: StubTopic[] = []
  react: (batches: StubBatch[], request: number) => StubReaction = () => []
  readonly produced: StubBatch[][] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #deaf = new Set<Socket>()
  #producers = 0
  port = 0

  constructor() {
    this.#server = createServer((socket) => this.#serve(socket))
  }

  async start(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.listen(0, '127.0.0.1', resolve)
    await promise
    const address = this.#server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
  }

  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    for (const socket of this.#sockets) socket.destroy()
    await promise
  }

  /** The connections there are now stay open, and get no answer any more: as if their other end had lost its power. */
  deafen(): void {
    for (const socket of this.#sockets) this.#deaf.add(socket)
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => this.#sockets.delete(socket))
    let buffered = Buffer.alloc(0)
    socket.on('data', (data: Buffer) => {
      buffered = Buffer.concat([buffered, data])
      while (buffered.length >= 4 && buffered.length >= 4 + buffered.readInt32BE(0)) {
        const end = 4 + buffered.readInt32BE(0)
        this.#answer(socket, buffered.subarray(4, end))
        buffered = buffered.subarray(end)
      }
    })
  }

  #answer(socket: Socket, request: Buffer): void {
    if (this.#deaf.has(socket)) return
    const apiKey = request.readInt16BE(0)
    const correlationId = request.readInt32BE(4)
    const body = request.subarray(10 + Math.max(0, request.readInt16BE(8)))
    const [answer] = apiKey === 0 ? this.#produce(body) : [this.#plain(apiKey)]
    if (answer === undefined) {
      socket.destroy()
      return
    }
    socket.write(
      new Bytes()
        .int32(answer.length + 4)
        .int32(correlationId)
        .done(),
    )
    socket.write(answer)
  }

  #plain(apiKey: number): Buffer {
    const bytes = new Bytes()
    if (apiKey === 18) {
      bytes.int16(0).list([...VERSIONS], ([key, version]) => bytes.int16(key).int16(version).int16(version))
      return bytes.int32(0).done()
    }
    if (apiKey === 22) {
      this.#producers += 1
      return bytes.int32(0).int16(0).int64(this.#producers).int16(0).done()
    }
    bytes.int32(0).list([1], () => bytes.int32(1).text('127.0.0.1').int32(this.port).int16(-1))
    bytes.int16(-1).int32(1)
    return bytes
      .list(this.topics, ({ name, errorCode, partitions }) => {
        bytes.int16(errorCode).text(name).int8(0)
        bytes.list([...Array(partitions).keys()], (partition) => {
          bytes.int16(0).int32(partition).int32(1)
          bytes.int32(1).int32(1).int32(1).int32(1).int32(0)
        })
      })
      .done()
  }

  /** Nothing where the connection is to be cut. */
  #produce(body: Buffer): Buffer[] {
    const batches = readProduce(body)
    this.produced.push(batches)
    const reaction = this.react(batches, this.produced.length)
    if (reaction === 'cut') return []
    const bytes = new Bytes()
    bytes.list(reaction, ({ topic, partition, errorCode, baseOffset }) => {
      bytes
        .text(topic)
        .list([0], () => bytes.int32(partition).int16(errorCode).int64(baseOffset).int64(1_000).int64(0))
    })
    return [bytes.int32(0).done()]
  }
}

/** Produce request, version 7: transactional_id acks timeout [topic [partition record_set]]. */
function readProduce(body: Buffer): StubBatch[] {
  let at = 2 + Math.max(0, body.readInt16BE(0)) + 2 + 4
  const batches: StubBatch[] = []
  const topics = body.readInt32BE(at)
  at += 4
  for (let topicIndex = 0; topicIndex < topics; topicIndex += 1) {
    const length = body.readInt16BE(at)
    const topic = body.subarray(at + 2, at + 2 + length).toString()
    at += 2 + length
    const partitions = body.readInt32BE(at)
    at += 4
    for (let index = 0; index < partitions; index += 1) {
      const batch = body.subarray(at + 8, at + 8 + body.readInt32BE(at + 4))
      batches.push({
        topic,
        partition: body.readInt32BE(at),
        producerId: batch.readBigInt64BE(43),
        firstSequence: batch.readInt32BE(53),
        records: batch.readInt32BE(57),
      })
      at += 8 + batch.length
    }
  }
  return batches
}
