import {
  type Broker,
  BrokerError,
  type CoalescingProducer,
  deadLettersTopic,
  type ProduceOutcome,
  readRecord,
  type StreamCatalog,
} from '@headrace/broker'
import { checkpoint, crashPoint, decodeDeadLetter, type DeadLetterRecord } from '@headrace/core'
import { ProblemError } from '@headrace/schemas'
import type { Clock, Logger } from '@headrace/service'
import {
  beginRedrive,
  classify,
  type DeadLetterDecision,
  deadLetterDecisions,
  decideDeadLetter,
  type DecisionBy,
  newRunIds,
  redriveWindow,
  type ServerClock,
  type Store,
} from '@headrace/store'
import { answerWithin } from '../http/answer-within.ts'
import type { RunEvents } from '../runs/run-events.ts'
import { type DecidedLetter, refOf } from './list-dead-letters.ts'
import { recordInside, redrivenEventId } from './redriven-record.ts'
import { notRedrivable, windowInside } from './redriven-window.ts'

export interface DeadLetterDeskOptions {
  broker: Pick<Broker, 'readRange'>
  producer: Pick<CoalescingProducer, 'produce'>
  store: Store
  serverClock: Pick<ServerClock, 'now'>
  prefix: string
  streams: Pick<StreamCatalog, 'bindingOf' | 'reader' | 'topicOf'>
  events: Pick<RunEvents, 'queued' | 'held'>
  log: Logger
  clock: Clock
}

/** Names a dead letter on its topic. */
export interface DeadLetterName {
  partition: number
  offset: number
}

/**
 * Decides about dead letters. What is inside of one runs once, however often it is redriven and whatever dies:
 *
 * D1  a window becomes its run in the statement that decides
 * D2  a record is published under an id that names its dead letter, then decided: dying in between publishes it again,
 *     and lanes drop the second as a repeat, for as long as they know it
 * D3  after that time a redrive that did not come to its end is not tried again
 */
export interface DeadLetterDesk {
  /** Throws `dead_letter_not_found`. */
  find(name: DeadLetterName): Promise<DecidedLetter<DeadLetterRecord>>
  /**
   * Answers as before when it is redriven already. Throws `dead_letter_not_found`, `dead_letter_decided`,
   * `not_redrivable`; and `kafka_unavailable`, after which it may be asked again.
   */
  redrive(name: DeadLetterName, by: DecisionBy): Promise<DecidedLetter<DeadLetterRecord>>
  /** Answers as before when it is discarded already. Throws `dead_letter_not_found`, `dead_letter_decided`. */
  discard(name: DeadLetterName, by: DecisionBy): Promise<DecidedLetter<DeadLetterRecord>>
}

export const KAFKA_MS_MAX = 6_000
/** An hour less than the 24 h for which repeats are known. */
const REDRIVE_AGAIN_MS = 23 * 3_600_000

export function createDeadLetterDesk(options: DeadLetterDeskOptions): DeadLetterDesk {
  return new Desk(options)
}

class Desk implements DeadLetterDesk {
  readonly #options: DeadLetterDeskOptions
  readonly #topic: string
  /** Redrives of one dead letter at once are one: it spares the log the repeats. */
  readonly #underWay = new Map<string, Promise<void>>()

  constructor(options: DeadLetterDeskOptions) {
    this.#options = options
    this.#topic = deadLettersTopic(options.prefix).name
  }

  async find(name: DeadLetterName): Promise<DecidedLetter<DeadLetterRecord>> {
    const letter = await this.#read(name)
    const [decision] = await deadLetterDecisions(this.#options.store, [refOf(letter)])
    if (decision === undefined) throw new Error('no answer about the decision')
    return { letter, decision }
  }

  async redrive(name: DeadLetterName, by: DecisionBy): Promise<DecidedLetter<DeadLetterRecord>> {
    const found = await this.find(name)
    if (isDecided(found.decision, 'redriven')) return found
    await this.#once(found.letter, async () => {
      const { runId, triggerId } = found.letter
      if (runId !== null)
        throw notRedrivable(
          `it is the run ${runId}: retry it with POST /v1/runs/${runId}/retry, then discard this`,
        )
      await (triggerId === null
        ? this.#redriveRecord(found.letter, by)
        : this.#redriveWindow(found.letter, by))
    })
    return await this.#decided(name, 'redriven')
  }

  async discard(name: DeadLetterName, by: DecisionBy): Promise<DecidedLetter<DeadLetterRecord>> {
    const found = await this.find(name)
    if (isDecided(found.decision, 'discarded')) return found
    const { store, log } = this.#options
    if (await decideDeadLetter(store, refOf(found.letter), { status: 'discarded', ...by }))
      log.info(
        { event: 'dead_letter.discarded', dead_letter: idOf(name), ...by },
        'a dead letter is discarded',
      )
    return await this.#decided(name, 'discarded')
  }

  /** What stands after a decision; somebody else's may have come first. */
  async #decided(
    name: DeadLetterName,
    status: 'redriven' | 'discarded',
  ): Promise<DecidedLetter<DeadLetterRecord>> {
    const found = await this.find(name)
    if (isDecided(found.decision, status)) return found
    throw notRedrivable(`its trigger ${found.letter.triggerId ?? ''} is not registered (any more)`)
  }

  async #once(letter: DeadLetterRecord, work: () => Promise<void>): Promise<void> {
    const id = redrivenEventId(letter)
    let underWay = this.#underWay.get(id)
    if (underWay === undefined) {
      underWay = work().finally(() => this.#underWay.delete(id))
      this.#underWay.set(id, underWay)
    }
    await underWay
  }

  /** D1 */
  async #redriveWindow(letter: DeadLetterRecord, by: DecisionBy): Promise<void> {
    const { store, serverClock, events, log } = this.#options
    const [runId = ''] = newRunIds(1, serverClock.now())
    const window = windowInside(letter, runId)
    try {
      const redriven = await redriveWindow(store, refOf(letter), window, by)
      if (redriven === null) return
      if (redriven.kind === 'invalid_key')
        throw notRedrivable(`the concurrency key of its workflow fails on it: ${redriven.reason}`)
      if (redriven.held === null) events.queued([redriven.seed])
      else events.held([redriven.held])
    } catch (error) {
      if (classify(error) !== 'row') throw error
      throw notRedrivable(
        `Postgres cannot store its run: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
    log.info(
      {
        event: 'dead_letter.redriven',
        dead_letter: idOf(letter),
        trigger: window.triggerId,
        run_id: runId,
        ...by,
      },
      'a dead letter became a run',
    )
  }

  /** D2, D3 */
  async #redriveRecord(letter: DeadLetterRecord, by: DecisionBy): Promise<void> {
    const { store, streams, log, producer } = this.#options
    const record = await recordInside(letter, streams)
    const begun = await beginRedrive(store, refOf(letter))
    if (begun === null) return
    const eventId = redrivenEventId(letter)
    if (begun.begunMs > REDRIVE_AGAIN_MS) {
      throw notRedrivable(
        `a redrive that began more than 23 h ago did not come to its end: look for the event ${eventId} on its stream, then discard this`,
      )
    }
    const [outcome] = await producer.produce([record], { deadlineMs: KAFKA_MS_MAX })
    if (outcome?.status !== 'written') throw problemOfSend(outcome)
    crashPoint('redrive.after-send')
    const held = checkpoint('redrive.after-send')
    if (held) await held
    if (!(await decideDeadLetter(store, refOf(letter), { status: 'redriven', ...by }))) return
    log.info(
      { event: 'dead_letter.redriven', dead_letter: idOf(letter), event_id: eventId, ...by },
      'the record of a dead letter is published again',
    )
  }

  async #read(name: DeadLetterName): Promise<DeadLetterRecord> {
    const { broker, clock } = this.#options
    const { partition, offset } = name
    const reading = new AbortController()
    const read = readRecord(broker, { topic: this.#topic, partition, offset, signal: reading.signal })
    try {
      const record = await answerWithin(clock, KAFKA_MS_MAX, async () => await read, kafkaLate)
      if (record !== null) return decodeDeadLetter(partition, record)
    } catch (error) {
      if (!(error instanceof BrokerError) || !/^unknown_(topic|partition)$/.test(error.code)) throw error
    } finally {
      reading.abort()
    }
    throw noDeadLetter(idOf(name))
  }
}

/** Throws `dead_letter_decided` where it was decided otherwise. */
function isDecided({ status, decidedBy }: DeadLetterDecision, wanted: 'redriven' | 'discarded'): boolean {
  if (status === wanted) return true
  if (status === 'open') return false
  const who = decidedBy === null ? '' : ` by ${decidedBy}`
  throw new ProblemError('dead_letter_decided', `It was ${status}${who}; that stands`)
}

export const idOf = ({ partition, offset }: DeadLetterName): string => `${partition}.${offset}`

export const noDeadLetter = (id: string): ProblemError =>
  new ProblemError(
    'dead_letter_not_found',
    `There is no dead letter ${JSON.stringify(id.slice(0, 100))}, or it was removed by retention`,
  )

export const kafkaLate = (ms: number): ProblemError =>
  new ProblemError('kafka_unavailable', `Kafka did not answer within ${ms} ms`)

function problemOfSend(outcome: Exclude<ProduceOutcome, { status: 'written' }> | undefined): ProblemError {
  if (outcome === undefined || outcome.status === 'unknown' || outcome.retryable)
    return new ProblemError(
      'kafka_unavailable',
      'Kafka did not take it; redrive it again, it runs once all the same',
    )
  if (outcome.code === 'unknown_topic') return notRedrivable('its stream does not exist (any more)')
  return notRedrivable(`Kafka refused it (${outcome.code}): ${outcome.message}`)
}
