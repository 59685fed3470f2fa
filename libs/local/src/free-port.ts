import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/**
 * Below the range from which systems take ports for outgoing connections (Linux from 32768, macOS from 49152):
 * a client that reconnects while a server is down would else be given that server's own port, now and then.
 */
const PORT_LEAST = 15_000
const PORT_MOST = 32_000
const ATTEMPTS_MAX = 100

const handedOut = new Set<number>()

/** A TCP port of 127.0.0.1 that nobody listens on, and that this process has not handed out before. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const port = randomInt(PORT_LEAST, PORT_MOST)
    if (!handedOut.has(port) && (await isFree(port))) {
      handedOut.add(port)
      return port
    }
  }
  throw new Error(`no free port found between ${PORT_LEAST} and ${PORT_MOST}`)
}

/** Whether we could listen on this port of 127.0.0.1 now. */
export async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
