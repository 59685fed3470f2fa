import type { Server } from 'node:net'

/** Another process listens where we were told to. The message names the port and what changes it. */
export class PortTakenError extends Error {
  readonly code = 'port_taken'
  override readonly name = 'PortTakenError'
  readonly port: number

  constructor({ host, port, change }: { host: string; port: number; change: string }) {
    super(`port ${port} on ${host} is taken by another process; choose another with ${change}`)
    this.port = port
  }
}

export interface ListenOptions {
  host: string
  /** 0 = any free port. */
  port: number
  /** What a user changes to choose another port: `HEADRACE_PORT`, or `--port`. Named in the error. */
  change: string
}

/** Listens, and returns the real port. Rejects with PortTakenError, or with Node's own error. */
export async function listen(server: Server, { host, port, change }: ListenOptions): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: Error): void => reject(explainListenError(error, { host, port, change }))
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      resolve()
    })
  })
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : port
}

/** For servers that listen by themselves (fastify): turns EADDRINUSE into PortTakenError, returns others as they are. */
export function explainListenError(error: unknown, options: ListenOptions): unknown {
  const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
  return taken ? new PortTakenError(options) : error
}
