import { type ClientOptions, clientSettings } from './client-options.ts'
import { Events } from './events.ts'
import { Runs } from './runs.ts'

/**
 * Publishes events and starts runs, from Node, browsers and edge runtimes: it needs `fetch` only. Failures that may pass
 * are tried again, with the same ids, until `timeout`.
 *
 * ```ts
 * const client = new Client({ url: 'http://localhost:8080' })
 * await client.events.publish({ topic: 'orders/created', data: { order_id: '123' } })
 * ```
 */
export class Client {
  readonly events: Events
  readonly runs: Runs

  /** Throws TypeError when there is no URL, or a malformed one. */
  constructor(options: ClientOptions = {}) {
    const settings = clientSettings(options)
    this.events = new Events(settings)
    this.runs = new Runs(settings)
  }
}
