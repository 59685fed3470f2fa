import { once } from 'node:events'
import { createServer } from 'node:http'

/** How long a body is held: long enough that some are in flight whenever something is taken away. */
const BODY_MS = 200

/** What is known of one event: the runs that it started, and how often the body of each step has begun. */
interface Witnessed {
  runs: Set<string>
  bodies: Map<string, number>
  /** The body of the last step was held to its end. */
  ended: boolean
}

/** Where the bodies of `load-worker.js` say that they run, each by `/<event>/<run>/<step>`. */
export interface Witness {
  url: string
  events: Map<string, Witnessed>
  /** The most bodies that ran at once since this was called before. */
  takeInFlightMax(): number
}

export async function startWitness(host: string): Promise<Witness> {
  const events = new Map<string, Witnessed>()
  let inFlight = 0
  let inFlightMax = 0
  const server = createServer((request, response) => {
    const [, event = '', run = '', step = ''] = (request.url ?? '').split('/')
    const seen = events.get(event) ?? { runs: new Set(), bodies: new Map<string, number>(), ended: false }
    events.set(event, seen)
    seen.runs.add(run)
    seen.bodies.set(step, (seen.bodies.get(step) ?? 0) + 1)
    inFlight += 1
    inFlightMax = Math.max(inFlightMax, inFlight)
    response.once('close', () => (inFlight -= 1))
    setTimeout(() => {
      seen.ended ||= step === 'last' && !response.destroyed
      response.end()
    }, BODY_MS)
  })
  server.listen(0, host)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the witness has no port')
  return {
    url: `http://${host}:${address.port}`,
    events,
    takeInFlightMax: () => {
      const most = inFlightMax
      inFlightMax = inFlight
      return most
    },
  }
}
