import { checkpoint, crashPoint } from '@headrace/core'
import { type CommandReply, ProblemError, type PublishCommand, type PublishedEvent } from '@headrace/schemas'
import { limited, type Logger } from '@headrace/service'
import { classify, type HeldRun, runsHeld, type Store } from '@headrace/store'
import { createGatherer } from '../commands/gatherer.ts'
import { answerWithin, WORKER_ANSWER_MS } from '../http/answer-within.ts'
import { type DataRules, prepareEvent } from './prepare-event.ts'
import { type Fate, replied, sendEvent, type SendEventParts } from './send-event.ts'

/**
 * Publishes for runs: the body of a `publishEvent`, whose result the worker stores afterwards. A death in between
 * publishes again under the same id, which lanes recognise.
 *
 * P1  who has lost its run publishes nothing: asked of Postgres before anything is sent
 * P2  each command is on its own: a stream that is refused, or a partition that stalls, fails no other command
 * P3  a request of which an event may still be written is not answered with success, so that the worker sends it again;
 *     what the failed request had written is not written a second time by the same instance
 */
export interface Publisher {
  /**
   * One reply for each command. Rejects with `postgres_unavailable`, `kafka_unavailable` or `refused_by_kafka` (all
   * retryable) within {@link PUBLISH_ANSWER_MS}, and with `overloaded` when too much is in flight.
   */
  answer(
    workerId: string,
    commands: readonly PublishCommand[],
    withdrawn?: AbortSignal,
  ): Promise<CommandReply[]>
  /** Resolves when nothing is in flight. */
  idle(): Promise<void>
}

export interface PublisherOptions extends SendEventParts {
  store: Store
  rules: DataRules
  /** Resolves when the event types were read, once; null: they were. */
  whenKnown: () => Promise<void> | null
  log: Logger
}

const HELD_BATCH_MAX = { items: 2_000, characters: Number.POSITIVE_INFINITY }
const HELD_WAITING_MAX = { items: 100_000, characters: Number.POSITIVE_INFINITY }
/** Events that wait for Kafka; at 256 MiB no worker's request of 32 MiB is refused for its size alone. */
const IN_FLIGHT_MAX = { records: 100_000, bytes: 256 * 1024 * 1024 }
/** Of failed requests. Forgetting them costs an event written twice under one id. */
const WRITTEN_KEPT_MAX = 10_000
/** An outage fails every request; one line a second says as much as a thousand. */
const SAY_EVERY_MS = 1_000

const LOST: CommandReply = { kind: 'lost' }

export function createPublisher(options: PublisherOptions): Publisher {
  return new GatheringPublisher(options)
}

class GatheringPublisher implements Publisher {
  readonly #options: PublisherOptions
  readonly #held
  readonly #failures: Pick<Logger, 'warn'>
  readonly #unfit: Pick<Logger, 'warn'>
  /** P3. By worker, run, epoch and key. */
  readonly #written = new Map<string, PublishedEvent>()
  readonly #inFlight = new Set<Promise<unknown>>()

  constructor(options: PublisherOptions) {
    const { store, log, clock } = options
    this.#options = options
    this.#failures = limited(log, 'publish.failed', SAY_EVERY_MS, clock)
    this.#unfit = limited(log, 'publish.unfit', SAY_EVERY_MS, clock)
    this.#held = createGatherer<{ runId: string; epoch: number; workerId: string }, HeldRun | null>({
      batchMax: HELD_BATCH_MAX,
      waitingMax: HELD_WAITING_MAX,
      charactersOf: () => 0,
      run: async (items) => await runsHeld(store, items),
      isOutage: (error) => !['bug', 'row'].includes(classify(error)),
    })
  }

  async answer(
    workerId: string,
    commands: readonly PublishCommand[],
    withdrawn?: AbortSignal,
  ): Promise<CommandReply[]> {
    if (commands.length === 0) return []
    const work = this.#publishAll(workerId, commands, withdrawn)
    this.#inFlight.add(work)
    try {
      return await work
    } finally {
      this.#inFlight.delete(work)
    }
  }

  async idle(): Promise<void> {
    await Promise.allSettled(this.#inFlight)
  }

  async #publishAll(
    workerId: string,
    commands: readonly PublishCommand[],
    withdrawn: AbortSignal | undefined,
  ): Promise<CommandReply[]> {
    this.#refuseFlood()
    const runs = await this.#runsHeld(workerId, commands, withdrawn)
    await this.#rulesKnown()
    const fates = await Promise.all(
      commands.map(async (command, index) => await this.#publish(workerId, command, runs[index] ?? null)),
    )
    crashPoint('publish.after-send-before-reply')
    const hold = checkpoint('publish.after-send-before-reply')
    if (hold) await hold
    for (const fate of fates) {
      const outcome = fate.kind === 'again' ? 'failed' : fate.reply.kind
      this.#options.metrics.publishes.inc({ outcome })
    }
    const failed = fates.find((fate) => fate.kind === 'again')
    if (failed !== undefined) throw this.#failed(failed.problem)
    for (const command of commands) this.#written.delete(nameOf(workerId, command))
    return fates.map((fate) => (fate.kind === 'reply' ? fate.reply : LOST))
  }

  /** Right after the start: nothing is written that was not checked. */
  async #rulesKnown(): Promise<void> {
    const known = this.#options.whenKnown()
    if (known !== null) await answerWithin(this.#options.clock, WORKER_ANSWER_MS, async () => await known)
  }

  /** P1 */
  async #runsHeld(
    workerId: string,
    commands: readonly PublishCommand[],
    withdrawn: AbortSignal | undefined,
  ): Promise<(HeldRun | null)[]> {
    const refs = commands.map(({ run_id: runId, epoch }) => ({ runId, epoch, workerId }))
    return await answerWithin(this.#options.clock, WORKER_ANSWER_MS, async (late) => {
      const signal = withdrawn === undefined ? late : AbortSignal.any([late, withdrawn])
      return await this.#held.submit(refs, signal)
    })
  }

  /** P2 */
  async #publish(workerId: string, command: PublishCommand, run: HeldRun | null): Promise<Fate> {
    if (run === null) return replied(LOST)
    const name = nameOf(workerId, command)
    const before = this.#written.get(name)
    if (before !== undefined) return replied({ kind: 'published', event: before })
    const traceparent = command.traceparent ?? run.traceparent
    const { clock, rules } = this.#options
    const prepared = prepareEvent(command, { traceparent, now: clock.now(), rules })
    if ('kind' in prepared) return replied(prepared)
    if (prepared.unfit !== null) this.#sayUnfit(prepared.unfit)
    const fate = await sendEvent(this.#options, prepared)
    if (fate.kind === 'reply' && fate.reply.kind === 'published') {
      if (this.#written.size >= WRITTEN_KEPT_MAX) this.#written.clear()
      this.#written.set(name, fate.reply.event)
    }
    return fate
  }

  /** Without the data, and without what of it does not fit. */
  #sayUnfit(eventType: string): void {
    this.#unfit.warn(
      { event: 'publish.unfit', code: 'schema_invalid', event_type: eventType },
      'an event of a run does not fit its event type, whose mode is warn: it is written all the same',
    )
  }

  #failed(problem: ProblemError): ProblemError {
    const { code, message: detail } = problem
    this.#failures.warn(
      { event: 'publish.failed', code, detail },
      'events of runs could not be written; their workers send them again',
    )
    return problem
  }

  #refuseFlood(): void {
    const { records, bytes } = this.#options.producer.inFlight
    if (records < IN_FLIGHT_MAX.records && bytes < IN_FLIGHT_MAX.bytes) return
    throw new ProblemError('overloaded', 'Too many events of runs, or too large ones, wait for Kafka')
  }
}

const nameOf = (workerId: string, { run_id: runId, epoch, key }: PublishCommand): string =>
  `${workerId}/${runId}/${epoch}/${key}`
