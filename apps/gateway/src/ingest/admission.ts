import { ProblemError } from '@headrace/schemas'

/**
 * How much may be in flight between "the request came in" and "it was answered". What is beyond it is refused at once,
 * before it is read, so that a burst or a slow Kafka costs some callers a 429 and never the process its memory.
 *
 * I1  bytes and events in flight are the sums over the tickets that are not released
 * I2  a ticket is released once, whatever it was raised to
 * I3  the only ticket is never refused: what is within a request's own limits gets through, however low these are
 */
export interface Admission {
  /** Throws `overloaded`. `bytes`: as far as they are known, else 0. */
  admit(bytes: number): AdmissionTicket
  readonly inFlight: { readonly bytes: number; readonly events: number; readonly requests: number }
}

export interface AdmissionTicket {
  /** Raises the ticket to so many bytes in all; a lower number changes nothing. Throws `overloaded`. */
  raiseBytes(bytes: number): void
  /** Counts the events of the request. Throws `overloaded`. */
  addEvents(events: number): void
  release(): void
}

export interface AdmissionLimits {
  bytesMax: number
  eventsMax: number
}

/** Long enough for a send to Kafka to come back, short enough not to idle. */
const RETRY_AFTER_SECONDS = 1

export function createAdmission({ bytesMax, eventsMax }: AdmissionLimits): Admission {
  const inFlight = { bytes: 0, events: 0, requests: 0 }

  return {
    inFlight,
    admit(bytes) {
      if (inFlight.requests > 0) refuse(inFlight.bytes + bytes, inFlight.events)
      inFlight.requests += 1
      inFlight.bytes += bytes
      return ticketOf(bytes)
    },
  }

  function refuse(bytes: number, events: number): void {
    if (bytes <= bytesMax && events <= eventsMax) return
    const detail = `${inFlight.requests} requests with ${inFlight.bytes} bytes and ${inFlight.events} events are in flight; send again later`
    throw new ProblemError('overloaded', detail, { retryAfterSeconds: RETRY_AFTER_SECONDS })
  }

  function ticketOf(firstBytes: number): AdmissionTicket {
    let held: { bytes: number; events: number } | null = { bytes: firstBytes, events: 0 }
    const isOnly = (): boolean => inFlight.requests === 1
    return {
      raiseBytes(bytes) {
        if (held === null || bytes <= held.bytes) return
        const more = bytes - held.bytes
        if (!isOnly()) refuse(inFlight.bytes + more, inFlight.events)
        held.bytes = bytes
        inFlight.bytes += more
      },
      addEvents(events) {
        if (held === null) return
        if (!isOnly()) refuse(inFlight.bytes, inFlight.events + events)
        held.events += events
        inFlight.events += events
      },
      release() {
        if (held === null) return
        inFlight.bytes -= held.bytes
        inFlight.events -= held.events
        inFlight.requests -= 1
        held = null
      },
    }
  }
}
