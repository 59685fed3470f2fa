import { type CoalescingProducer, type ProduceOutcome, responsesTopic } from '@headrace/broker'
import { type Clock, limited, type Logger } from '@headrace/service'
import { projectionTriggerId } from '@headrace/store'
import type { TriggerMetrics } from '../metrics.ts'
import type { DeadLetter, DeadLetters } from '../set-aside/dead-letters.ts'
import type { Response } from './responses-entry.ts'

const PAUSE_FIRST_MS = 100
/** What is back is looked for every two seconds. */
const PAUSE_MAX_MS = 2_000
const OUTAGE_LOG_EVERY_MS = 10_000

/** A record that no pause makes smaller: our own limit, and Kafka's two names for its. */
const tooLarge = new Set(['record_too_large', 'message_too_large', 'record_list_too_large'])

export interface ResponseWriterParts {
  producer: Pick<CoalescingProducer, 'produce'>
  prefix: string
  deadLetters: DeadLetters
  metrics: TriggerMetrics
  log: Logger
  clock: Clock
}

type Refused = Exclude<ProduceOutcome, { status: 'written' }>

/**
 * Writes responses. One that no longer fits (it is an event that takes as much as a record may, and the headers of a
 * response come on top) is a dead letter. One whose fate stayed unknown is written again: it names its position.
 */
export class ResponseWriter {
  readonly #parts: ResponseWriterParts
  readonly #topic: string

  constructor(parts: ResponseWriterParts) {
    this.#parts = parts
    this.#topic = responsesTopic(parts.prefix).name
  }

  /**
   * Resolves when all of them, of one partition, are acknowledged or set aside: the cursor may pass them then. Waits out
   * any outage of Kafka, also a response topic that is not there; rejects only when `signal` is aborted. The responses of
   * one topic are written in their order.
   */
  async write(
    place: { readonly stream: string; readonly partition: number },
    responses: readonly Response[],
    signal: AbortSignal,
  ): Promise<void> {
    let left = responses
    // A batch that Kafka finds too large may be made of records that all fit.
    let alone = false
    for (let failures = 0; left.length > 0;) {
      signal.throwIfAborted()
      const sent = alone ? left.slice(0, 1) : left
      const refusals = await this.#produce(place.stream, sent)
      const letters = sent.flatMap((response) => {
        const refused = refusals.get(response)
        const isAlone = sent.length === 1 || refused?.code === 'record_too_large'
        return refused !== undefined && isAlone && tooLarge.has(refused.code)
          ? [letterOf(place, response, refused)]
          : []
      })
      if (letters.length > 0) await this.#setAside(letters, signal)
      const setAside = new Set(letters.map(({ offset }) => offset))
      alone ||= [...refusals.values()].some(({ code }) => tooLarge.has(code))
      left = [
        ...sent.filter((response) => refusals.has(response) && !setAside.has(response.offset)),
        ...left.slice(sent.length),
      ]
      const outage = [...refusals.values()].find(
        ({ code }) => !tooLarge.has(code) && code !== 'not_attempted',
      )
      failures = outage === undefined ? 0 : failures + 1
      if (outage !== undefined) await this.#pause(place, { waiting: left.length, outage, failures }, signal)
    }
  }

  async #setAside(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    const { deadLetters, log } = this.#parts
    await deadLetters.put(letters, signal)
    for (const { reason, stream, partition, offset, detail } of letters)
      log.warn(
        { event: 'response.set_aside', code: reason, stream, partition, sequence_id: offset, detail },
        'an event takes too much to be copied: no run that waits for it will see it',
      )
  }

  /** Those that were not written, and why. */
  async #produce(stream: string, responses: readonly Response[]): Promise<Map<Response, Refused>> {
    const topic = this.#topic
    const outcomes = await this.#parts.producer.produce(
      responses.map(({ record }) => ({ topic, partition: null, ...record })),
    )
    const refusals = new Map<Response, Refused>()
    for (const [index, response] of responses.entries()) {
      const outcome = outcomes[index]
      if (outcome !== undefined && outcome.status !== 'written') refusals.set(response, outcome)
    }
    this.#parts.metrics.projectedEvents.inc({ stream }, responses.length - refusals.size)
    return refusals
  }

  async #pause(
    place: { readonly stream: string; readonly partition: number },
    { waiting, outage, failures }: { waiting: number; outage: Refused; failures: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { log, clock } = this.#parts
    const { code, message } = outage
    limited(log, `projection/${place.stream}`, OUTAGE_LOG_EVERY_MS, clock).warn(
      { event: 'projection.delayed', code, ...place, waiting, detail: message },
      'events that runs may wait for could not be copied to the response topic; trying again',
    )
    await clock.sleep(Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (failures - 1)), signal)
  }
}

function letterOf(
  { stream, partition }: { readonly stream: string; readonly partition: number },
  { offset, record }: Response,
  { message: detail }: Refused,
): DeadLetter {
  const { value, headers } = record
  const reason = 'response_too_large'
  return { reason, detail, stream, partition, offset, triggerId: projectionTriggerId, value, headers }
}
