import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { RequestQueue } from './kafkajs-internals.ts'

/** Idle connections are probed this often (ms); kafkajs's own value. */
const KEEP_ALIVE_DELAY_MS = 60_000

let applied = false

/**
 * Mends kafkajs in place, once a process.
 *
 * `scheduleCheckPendingRequests` arms a timer after every answer, also with nothing pending and no throttling: its delay
 * is then `throttledUntil - now`, a large negative number, which Node runs after 1 ms (and Node 24 prints
 * `TimeoutNegativeWarning`). Each connection so wakes the process for nothing (measured: 0.5 ms CPU a run at 100/s).
 * Pending requests without throttling need no timer: the answer that makes room sends them.
 */
export function applyPatches(): void {
  if (applied) return
  applied = true
  RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleCheckPendingRequests(
    this: RequestQueue,
  ): void {
    if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) return
    const waitMs = this.throttledUntil - Date.now()
    if (waitMs <= 0) return
    this.throttleCheckTimeoutId = setTimeout(() => {
      this.throttleCheckTimeoutId = null
      this.checkPendingRequests()
    }, waitMs)
  }
}

export interface SocketRequest {
  host: string
  port: number
  ssl: ConnectionOptions | null | undefined
  onConnect: () => void
}

/** As kafkajs's own factory, with Nagle's algorithm off: a small request behind an unacknowledged one waits up to 40 ms. */
export function socketFactory({ host, port, ssl, onConnect }: SocketRequest): Socket {
  const socket = ssl
    ? connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect)
    : connectTcp({ host, port }, onConnect)
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS)
  return socket
}
