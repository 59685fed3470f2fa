import { type CoalescingProducer, deadLettersTopic } from '@headrace/broker'
import { createDuty, type Clock, type Duty, type Logger, type Metrics } from '@headrace/service'

/** What goes to `<prefix>.dead-letters`: what could not go on, and why. */
export interface DeadLetter {
  /** Stable: `worker_lost`, `schema_invalid`. */
  reason: string
  detail: string
  runId: string
  /** Where the run's events lie; nulls for a run that was started by API. */
  source: { stream: string; partition: number; offset: number } | null
  triggerId: string | null
  /** JSON text: the run's input. */
  payload: string | null
}

/** Of a run: where its first event lies. */
export const sourceOf = (
  trigger: { stream: string; partition: number; firstOffset: number } | null,
): DeadLetter['source'] =>
  trigger && { stream: trigger.stream, partition: trigger.partition, offset: trigger.firstOffset }

/**
 * Writes dead letters, again and again until each is acknowledged. The run's row already says what became of it; the
 * record is for those who watch the topic, and a crash of this process before the acknowledgement loses it, not the
 * fact.
 */
export interface DeadLetters {
  add(letters: readonly DeadLetter[]): void
  start(): void
  /** Tries once more what is left; what Kafka does not take then is told in the log. */
  stop(): Promise<void>
}

export interface DeadLettersOptions {
  producer: Pick<CoalescingProducer, 'produce'>
  prefix: string
  log: Logger
  clock: Clock
  written: (reason: string) => void
  metrics?: Metrics
}

const AGAIN_EVERY_MS = 5_000
/** Beyond it Kafka has been away for long and the oldest are dropped, each with a line in the log. */
const WAITING_MAX = 10_000
/** A run's input is up to 1 MiB. */
const WAITING_CHARACTERS_MAX = 64 * 1024 * 1024
/** A record may be 2 MiB; a payload past this is cut, and the cut is flagged. */
const PAYLOAD_BYTES_MAX = 1_000_000

export function createDeadLetters(options: DeadLettersOptions): DeadLetters {
  const { producer, prefix, log, clock } = options
  const topic = deadLettersTopic(prefix).name
  let waiting: DeadLetter[] = []

  async function writeAll(): Promise<void> {
    const batch = waiting
    if (batch.length === 0) return
    waiting = []
    const outcomes = await producer.produce(
      batch.map((letter) => ({ topic, partition: null, ...record(letter) })),
    )
    // An unknown outcome is written again: a dead letter twice is better than none.
    const again = batch.filter((_letter, index) => outcomes[index]?.status !== 'written')
    for (const [index, letter] of batch.entries()) {
      if (outcomes[index]?.status === 'written') options.written(letter.reason)
    }
    keep([...again, ...waiting])
    if (again.length > 0) {
      log.warn(
        { event: 'dead_letter.waits', code: 'dead_letter_not_written', waiting: waiting.length },
        'Kafka did not take dead letters; trying again',
      )
    }
  }

  function keep(letters: DeadLetter[], most = WAITING_MAX): void {
    for (const dropped of letters.splice(0, excessOf(letters, most))) {
      log.error(
        {
          event: 'dead_letter.dropped',
          code: 'dead_letter_dropped',
          run_id: dropped.runId,
          reason: dropped.reason,
        },
        'Kafka has not taken this dead letter, and it cannot wait any longer: it is told here only',
      )
    }
    waiting = letters
  }

  const duty: Duty = createDuty({
    name: 'dead_letters.write',
    everyMs: AGAIN_EVERY_MS,
    log,
    clock,
    runOnce: writeAll,
    ...(options.metrics ? { metrics: options.metrics } : {}),
  })

  return {
    add(letters) {
      if (letters.length === 0) return
      keep([...waiting, ...letters])
      duty.poke()
    },
    start: () => duty.start(),
    async stop() {
      await duty.stop()
      await writeAll()
      keep(waiting, 0)
    },
  }
}

/** How many of the oldest do not fit. */
function excessOf(letters: readonly DeadLetter[], most: number): number {
  const floor = Math.max(0, letters.length - most)
  let characters = 0
  for (let at = letters.length - 1; at >= floor; at -= 1) {
    characters += letters[at]?.payload?.length ?? 0
    if (characters > WAITING_CHARACTERS_MAX) return at + 1
  }
  return floor
}

function record({ reason, detail, runId, source, triggerId, payload }: DeadLetter) {
  const bytes = Buffer.from(payload ?? '', 'utf8')
  const truncated = bytes.length > PAYLOAD_BYTES_MAX
  const headers: Record<string, string> = { reason, detail, run_id: runId }
  if (source !== null) {
    headers['stream'] = source.stream
    headers['partition'] = String(source.partition)
    headers['offset'] = String(source.offset)
  }
  if (triggerId !== null) headers['trigger_id'] = triggerId
  if (truncated) headers['truncated'] = 'true'
  return {
    key: source === null ? `run/${runId}` : `${source.stream}/${source.partition}`,
    value: truncated ? bytes.subarray(0, PAYLOAD_BYTES_MAX) : bytes,
    headers,
  }
}
