import { connect } from 'node:net'

/**
 * Asks a Kafka for its metadata, by the protocol itself (Metadata version 1, no topics): this library speaks to a
 * broker for nothing else, and a whole client would be too much.
 */

const METADATA_API_KEY = 3
const METADATA_VERSION = 1
const CORRELATION_ID = 1
/** A broker on this machine answers in milliseconds. */
const ANSWER_DEADLINE_MS = 2_000
/** Enough for the few brokers of an answer; anything larger is not Kafka's. */
const ANSWER_BYTES_MAX = 1024 * 1024

/** Whether a Kafka answers there, and counts at least one broker: itself, registered and not fenced. */
export async function kafkaAnswers(port: number, host = '127.0.0.1'): Promise<boolean> {
  const answer = await exchange(port, host, metadataRequest())
  return answer !== null && brokerCount(answer) > 0
}

/** Size, header version 1 (api key, version, correlation id, no client id), and an empty list of topics. */
export function metadataRequest(): Buffer {
  const request = Buffer.alloc(18)
  request.writeInt32BE(14, 0)
  request.writeInt16BE(METADATA_API_KEY, 4)
  request.writeInt16BE(METADATA_VERSION, 6)
  request.writeInt32BE(CORRELATION_ID, 8)
  request.writeInt16BE(-1, 12)
  request.writeInt32BE(0, 14)
  return request
}

/** The number of brokers in an answer (without its size field), or 0 if it is none. */
export function brokerCount(answer: Buffer): number {
  return answer.length >= 8 && answer.readInt32BE(0) === CORRELATION_ID ? answer.readInt32BE(4) : 0
}

async function exchange(port: number, host: string, request: Buffer): Promise<Buffer | null> {
  return await new Promise((resolve) => {
    const socket = connect({ port, host })
    let received = Buffer.alloc(0)
    const end = (answer: Buffer | null): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(ANSWER_DEADLINE_MS, () => end(null))
    socket.once('error', () => end(null))
    socket.once('close', () => end(null))
    socket.once('connect', () => socket.write(request))
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 4) return
      const size = received.readInt32BE(0)
      if (size < 0 || size > ANSWER_BYTES_MAX) end(null)
      else if (received.length >= 4 + size) end(received.subarray(4, 4 + size))
    })
  })
}
