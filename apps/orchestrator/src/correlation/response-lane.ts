import type { IncomingBatch, IncomingRecord, LanedConsumer, LaneHandler, PushAnswer } from '@headrace/broker'
import { type Clock, codeOf, limited, type Logger } from '@headrace/service'
import type { ResponseChunk } from './correlate.ts'

/** Records of one step: its statements take some ms each, and what comes meanwhile is the next. */
const CHUNK_RECORDS_MAX = 500
const CHUNK_BYTES_MAX = 4 * 1024 * 1024
/** Fetched and not correlated yet; past it the partition is not fetched. */
const BUFFER_BYTES_MAX = 8 * 1024 * 1024
const RETRY_FIRST_MS = 100
const RETRY_MAX_MS = 5_000
const SAY_EVERY_MS = 10_000
/** A partition at its end says so this often: retention of responses stays behind the slowest. */
const AT_END_EVERY_MS = 60_000

export interface ResponseLaneOptions {
  topic: string
  partition: number
  /** Aborted when the partition is somebody else's. */
  signal: AbortSignal
  consumer: Pick<LanedConsumer, 'seek' | 'resume' | 'commit'>
  correlate: (chunk: ResponseChunk, signal: AbortSignal) => Promise<void>
  /** All below was read, and nothing is there: so the cursor may say. */
  atEnd: (partition: number, nextOffset: number) => Promise<void>
  /** The topic was made anew: its offsets begin again, and so does the cursor. */
  begunAnew: (partition: number, nextOffset: number) => Promise<void>
  /** Responses went before they were read, or the topic was made anew; counted by its stable code. */
  lost: (code: 'responses_gap' | 'responses_recreated') => void
  log: Logger
  clock: Clock
}

/**
 * One assigned partition of the response topic. What is fetched is correlated in order, one step at a time; a step that
 * fails is done again for as long as the partition is ours, since nothing may be passed over. No state but the buffer.
 */
export class ResponseLane implements LaneHandler {
  readonly partition: number
  readonly #options: ResponseLaneOptions
  #records: IncomingRecord[] = []
  #bytes = 0
  /** Where the records in the buffer end. */
  #fetched = 0
  #wasFull = false
  #working: Promise<void> | null = null
  /** To be done once what is in the buffer is. */
  #afterwards: (() => Promise<void>) | null = null
  #saidAtEnd = { offset: -1, atMs: 0 }
  /** Records not correlated yet, as last seen; null before the first fetch. */
  #behind: number | null = null

  constructor(options: ResponseLaneOptions) {
    this.#options = options
    this.partition = options.partition
  }

  /** Records that were fetched or lie on the topic and are not correlated; the age of the first that was fetched. */
  lag(nowMs: number): { records: number; seconds: number } {
    const [first] = this.#records
    const seconds = first === undefined ? 0 : Math.max(0, nowMs - first.timestamp) / 1_000
    return { records: this.#behind ?? 0, seconds }
  }

  /** Of the records that were fetched and are not correlated. */
  get bytes(): number {
    return this.#bytes
  }

  push(batch: IncomingBatch): PushAnswer {
    if (this.isFull()) return 'full'
    for (const record of batch.records) {
      this.#records.push(record)
      this.#bytes += record.bytes
    }
    this.#fetched = batch.nextOffset
    this.#behind = this.#records.length + Math.max(0, batch.highWatermark - batch.nextOffset)
    this.#workSoon()
    return 'accepted'
  }

  isFull(): boolean {
    const full = this.#bytes >= BUFFER_BYTES_MAX || this.#options.signal.aborted
    this.#wasFull ||= full
    return full
  }

  atHead({ position }: { position: number }): void {
    if (this.#working !== null || this.#options.signal.aborted) return
    this.#behind = 0
    const { clock } = this.#options
    const { offset, atMs } = this.#saidAtEnd
    if (position === offset && clock.now() - atMs < AT_END_EVERY_MS) return
    this.#work(async () => {
      await this.#options.atEnd(this.partition, position)
      this.#saidAtEnd = { offset: position, atMs: clock.now() }
    })
  }

  outOfRange({ position, low, high }: { position: number; low: number; high: number }): number | null {
    const { topic, partition, log, begunAnew, lost, consumer, signal } = this.#options
    const where = { topic, partition, position, low, high }
    if (position < low) {
      // From 0 it is the first start; else they were correlated by nobody, and only their topics' latest are left.
      if (position > 0) {
        lost('responses_gap')
        log.error(
          { event: 'responses.gap', code: 'responses_gap', ...where },
          'responses were deleted unread',
        )
      }
      return low
    }
    // Asked again until what is in hand is done.
    if (this.#afterwards === null) lost('responses_recreated')
    log.error(
      { event: 'responses.begun_anew', code: 'responses_recreated', ...where },
      'the response topic was made anew or cut: it is read from its beginning',
    )
    this.#afterwards = async () => {
      await begunAnew(partition, low)
      if (!signal.aborted) consumer.seek(topic, partition, low)
    }
    this.#workSoon()
    return null
  }

  /** Resolves when no step is under way. */
  async idle(): Promise<void> {
    await this.#working
  }

  #workSoon(): void {
    if (this.#working !== null) return
    if (this.#records.length > 0) this.#work(async () => await this.#step())
    else if (this.#afterwards !== null) {
      const piece = this.#afterwards
      this.#afterwards = null
      this.#work(piece)
    }
  }

  /** One piece of work at a time; what fails is done again. */
  #work(piece: () => Promise<void>): void {
    if (this.#working !== null || this.#options.signal.aborted) return
    this.#working = this.#untilDone(piece).finally(() => {
      this.#working = null
      this.#workSoon()
    })
  }

  async #untilDone(piece: () => Promise<void>): Promise<void> {
    const { signal, clock, log, topic, partition } = this.#options
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await piece()
        return
      } catch (error) {
        if (signal.aborted) return
        limited(log, `correlation/${partition}`, SAY_EVERY_MS, clock).error(
          { event: 'correlation.failed', code: codeOf(error), topic, partition, failures, err: error },
          'responses could not be correlated; trying again',
        )
        const pauseMs = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures, 10))
        await clock.sleep(pauseMs, signal).catch(() => undefined)
      }
    }
  }

  async #step(): Promise<void> {
    const { topic, partition, consumer, correlate, signal } = this.#options
    const records = this.#nextRecords()
    const last = records.at(-1)
    if (last === undefined) return
    const isAll = records.length === this.#records.length
    // Behind the last record in hand may be offsets that no record has.
    const nextOffset = isAll ? this.#fetched : last.offset + 1
    await correlate({ partition, records, nextOffset }, signal)
    this.#records.splice(0, records.length)
    for (const { bytes } of records) this.#bytes -= bytes
    this.#behind = Math.max(this.#records.length, (this.#behind ?? 0) - records.length)
    if (signal.aborted) return
    consumer.commit(topic, partition, nextOffset)
    if (this.#wasFull && !this.isFull()) {
      this.#wasFull = false
      consumer.resume(topic, partition)
    }
  }

  #nextRecords(): IncomingRecord[] {
    let bytes = 0
    let count = 0
    for (const record of this.#records) {
      bytes += record.bytes
      if (count > 0 && (count === CHUNK_RECORDS_MAX || bytes > CHUNK_BYTES_MAX)) break
      count += 1
    }
    return this.#records.slice(0, count)
  }
}
