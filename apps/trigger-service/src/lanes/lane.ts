import type {
  IncomingBatch,
  IncomingRecord,
  LanedConsumer,
  LaneHandler,
  PushAnswer,
  StreamCatalog,
} from '@headrace/broker'
import { type Clock, codeOf, type Logger } from '@headrace/service'
import { progressEntry } from '../start-runs/flush-entry.ts'
import { isMarked, type Reading, type Repeats } from '../repeats/repeats.ts'
import { type DeadLetters, recordLetter } from '../set-aside/dead-letters.ts'
import type { Follower, LaneEntry } from './follower.ts'
import type { LaneRecord } from './lane-record.ts'
import { readUntilKnown } from './read-until-known.ts'
import { Tail } from './tail.ts'

/** Records scanned before others get their turn: about 5 ms. */
const CHUNK_RECORDS_MAX = 500

export interface LaneParts {
  readonly consumer: Pick<LanedConsumer, 'seek' | 'resume' | 'commit'>
  readonly enqueue: (entry: LaneEntry) => void
  readonly deadLetters: DeadLetters
  readonly repeats: Pick<Repeats, 'reading'>
  readonly streams: Pick<StreamCatalog, 'reader' | 'topicOf'>
  readonly log: Logger
  readonly clock: Clock
  /** This lane has triggers to read again: their cursors are not known (any more). */
  readonly onOrphans: () => void
  /** The lane goes on without a follower of its that cannot keep up, and that reads behind it until they meet again. */
  readonly onLeft: (follower: Follower, lane: Lane) => void
  /**
   * Bytes a lane may hold of records fetched and not scanned, as many of closed windows that wait for Postgres, and as
   * many of responses that wait for Kafka. Past the second it scans no more; then its buffer fills, and it is not fetched.
   * Past the third the projection leaves it.
   */
  readonly bytesMax: () => number
}

/**
 * One assigned partition of a stream, and the triggers that follow it.
 *
 * states: waiting → reading ⇄ waiting → closed
 *   waiting  its cursors are not known; nothing is fetched
 *   reading  `position` is the next offset to scan; nothing is fetched while it is full or nobody follows
 *   closed   revoked
 *
 * N1  records are scanned in the order of their offsets, without a hole: a batch is taken only where the last one ended
 * N2  every follower has scanned all below `position`, or it lies below its own cursor
 * N3  a record that cannot be read is acked as a dead letter before any cursor passes it
 * N4  at the head = a fetch at `position` showed nothing; only then does the wall clock close windows
 * N5  buffered and pending bytes are bounded
 * N6  no follower is given a repeat; while ids cannot be entered nothing is scanned
 * N7  while a schema that a record names cannot be asked for, nothing is scanned, and nothing set aside
 * N8  whatever fails here ends in `waiting`: followers are dropped and read again, nothing is passed over
 */
export class Lane implements LaneHandler {
  readonly topic: string
  readonly stream: string
  readonly partition: number
  readonly signal: AbortSignal
  readonly #parts: LaneParts
  readonly #followers = new Map<string, Follower>()
  /** Triggers that catch up and will join. */
  readonly #chasers = new Map<string, Follower>()
  readonly #tail = new Tail()
  #state: 'waiting' | 'reading' | 'closed' = 'waiting'
  /** Rises with each start, so that work of an earlier life is not taken for this one's. */
  #life = 0
  #reading: Reading | null = null
  #position = 0
  #startedAt = 0
  #buffer: { batch: IncomingBatch; scanned: number }[] = []
  #bufferedBytes = 0
  #fetched = 0
  #draining = false
  #wasFull = false
  #frozen = false
  /** The log's end as last seen, for lag. */
  highWatermark: number | null = null

  constructor(
    { topic, stream, partition, signal }: Pick<Lane, 'topic' | 'stream' | 'partition' | 'signal'>,
    parts: LaneParts,
  ) {
    this.topic = topic
    this.stream = stream
    this.partition = partition
    this.signal = signal
    this.#parts = parts
    signal.addEventListener('abort', () => this.#close(), { once: true })
  }

  get position(): number {
    return this.#position
  }

  get reading(): boolean {
    return this.#state === 'reading'
  }

  /** Whatever unreadable records lie from here to `position` were set aside by this lane already. */
  get startedAt(): number {
    return this.#startedAt
  }

  get followers(): Iterable<Follower> {
    return this.#followers.values()
  }

  get chasers(): Iterable<Follower> {
    return this.#chasers.values()
  }

  has(triggerId: string): boolean {
    return this.#followers.has(triggerId) || this.#chasers.has(triggerId)
  }

  /** What a follower closed and is not stored, in bytes, as much as may be; a catch-up reader keeps to it too. */
  get pendingBytesMax(): number {
    return this.#parts.bytesMax()
  }

  /** Nobody follows and nobody will without being adopted: the lane may start anew elsewhere. */
  get idle(): boolean {
    return this.#state === 'waiting' || (this.#followers.size === 0 && this.#chasers.size === 0)
  }

  /** Begins to read at `position`. */
  start(position: number): void {
    if (this.#state === 'closed') return
    this.#life += 1
    this.#state = 'reading'
    this.#position = position
    this.#startedAt = position
    this.#fetched = position
    this.#reading = this.#parts.repeats.reading(this)
    this.#clearBuffer()
    this.#parts.consumer.seek(this.topic, this.partition, position)
  }

  /** Takes a follower in that has scanned all below `position` (N2). */
  join(follower: Follower): void {
    this.#chasers.delete(follower.trigger.id)
    if (this.#chasers.size === 0) this.#tail.end()
    if (!follower.live) return
    this.#followers.set(follower.trigger.id, follower)
    follower.onSettled = () => this.#settled(follower)
    this.#offerRoom()
    this.#drainSoon()
  }

  /** Notes a follower that catches up; `join` or its drop ends that. */
  chase(follower: Follower): void {
    this.#chasers.set(follower.trigger.id, follower)
  }

  /** Keeps what is scanned from now on, for a chaser that is near. */
  keepTail(): void {
    this.#tail.begin(this.#position)
  }

  tailFrom(position: number): readonly LaneRecord[] | null {
    return this.#tail.from(position)
  }

  /** The chaser gave up or was dropped. */
  unchase(follower: Follower): void {
    if (this.#chasers.get(follower.trigger.id) === follower) this.#chasers.delete(follower.trigger.id)
    if (this.#chasers.size === 0) this.#tail.end()
  }

  drop(triggerId: string): void {
    this.#followers.get(triggerId)?.drop()
    this.#chasers.get(triggerId)?.drop()
  }

  push(batch: IncomingBatch): PushAnswer {
    if (this.#state !== 'reading' || this.isFull()) return 'full'
    // Holds by the consumer's construction; were it ever broken, events would be lost in silence (N1).
    if (batch.fetchedOffset > this.#fetched) return { seek: this.#fetched }
    this.highWatermark = batch.highWatermark
    this.#buffer.push({ batch, scanned: 0 })
    for (const { bytes } of batch.records) this.#bufferedBytes += bytes
    this.#fetched = Math.max(this.#fetched, batch.nextOffset)
    this.#drainSoon()
    return 'accepted'
  }

  /** Takes nothing more in: the service is stopping, and what is closed is still flushed. */
  freeze(): void {
    this.#frozen = true
  }

  isFull(): boolean {
    const full =
      this.#state !== 'reading' ||
      this.#frozen ||
      this.#followers.size === 0 ||
      this.#bufferedBytes >= this.#parts.bytesMax()
    this.#wasFull ||= full
    return full
  }

  atHead({ position, highWatermark }: { position: number; highWatermark: number }): void {
    if (this.#state !== 'reading' || this.#frozen) return
    if (position !== this.#position || this.#buffer.length > 0) return
    this.highWatermark = highWatermark
    const nowMs = this.#parts.clock.now()
    for (const follower of this.#followers.values()) this.#enqueue(follower.head(position, nowMs))
  }

  outOfRange({ position, low, high }: { position: number; low: number; high: number }): null {
    this.#parts.log.error(
      { event: 'lane.out_of_range', code: 'offset_out_of_range', ...this.#name, position, low, high },
      'the log does not hold this lane’s position; its cursors are compared with it',
    )
    this.#wait()
    this.#parts.onOrphans()
    return null
  }

  /** Moves idle cursors on, so that retention never overtakes them, and tells Kafka's group the lowest of them. */
  writeProgress(): void {
    if (this.#state !== 'reading') return
    let lowest = Number.POSITIVE_INFINITY
    for (const follower of this.#followers.values()) {
      const { cursor, stored, seen } = follower
      if (follower.pending.windows === 0 && cursor.nextOffset > stored.nextOffset)
        this.#parts.enqueue(progressEntry({ follower, cursor, seen }))
      lowest = Math.min(lowest, stored.nextOffset)
    }
    for (const { stored } of this.#chasers.values()) lowest = Math.min(lowest, stored.nextOffset)
    if (Number.isFinite(lowest)) this.#parts.consumer.commit(this.topic, this.partition, lowest)
  }

  get #name() {
    return { stream: this.stream, partition: this.partition }
  }

  /** Whether there is something to scan, and room behind it (N5). */
  get #canScan(): boolean {
    if (this.#state !== 'reading' || this.#frozen || this.#buffer.length === 0) return false
    if (this.#followers.size === 0) return false
    return this.#pendingBytes() < this.pendingBytesMax
  }

  #drainSoon(): void {
    if (this.#draining || !this.#canScan) return
    this.#draining = true
    this.#drain()
      .catch((error: unknown) => {
        if (this.signal.aborted) return
        this.#parts.log.error(
          { event: 'lane.failed', code: codeOf(error), ...this.#name, err: error },
          'a lane failed and is read again',
        )
        // Left to the sweep: the same records may well fail again, and a poke would make that a hot loop.
        this.#wait()
      })
      .finally(() => {
        this.#draining = false
        this.#offerRoom()
        // A batch that came, or room that was made, between the loop's last look and here.
        this.#drainSoon()
      })
  }

  /** Scans what is buffered, in turns with everybody else. */
  async #drain(): Promise<void> {
    while (this.#canScan) {
      const chunk = this.#nextChunk()
      if (chunk === null) return
      const life = this.#life
      const reading = readUntilKnown(this.#parts, this, chunk.records)
      // Most chunks name no schema that is not known, and are read in the turn in which they came.
      const records = reading instanceof Promise ? await reading : reading
      if (life !== this.#life) continue
      const unreadable = records.filter((record) => record.kind === 'unreadable')
      if (unreadable.length > 0) {
        const letters = unreadable.map((record) => recordLetter(this.#name, record))
        await this.#parts.deadLetters.put(letters, this.signal)
        if (life !== this.#life) continue
      }
      // Most chunks have none, and are scanned in the turn in which they came.
      const events = records.some(isMarked) ? await this.#struck(records) : records
      if (life !== this.#life) continue
      this.#scan(events, chunk.nextOffset)
      if (this.#buffer.length > 0) await new Promise(setImmediate)
    }
  }

  /** What nobody is there to see needs no look. */
  async #struck(records: readonly LaneRecord[]): Promise<readonly LaneRecord[]> {
    const incarnations = [...this.#followers.values(), ...this.#chasers.values()].map(
      (one) => one.incarnation,
    )
    if (this.#reading === null || incarnations.length === 0) return records
    return await this.#reading.strike(records, Math.max(...incarnations), this.signal)
  }

  #nextChunk(): { records: readonly IncomingRecord[]; nextOffset: number } | null {
    const [head] = this.#buffer
    if (head === undefined) return null
    const { batch, scanned } = head
    const records = batch.records.slice(scanned, scanned + CHUNK_RECORDS_MAX)
    head.scanned += records.length
    for (const { bytes } of records) this.#bufferedBytes -= bytes
    if (head.scanned < batch.records.length) return { records, nextOffset: (records.at(-1)?.offset ?? 0) + 1 }
    this.#buffer.shift()
    return { records, nextOffset: batch.nextOffset }
  }

  #scan(records: readonly LaneRecord[], nextOffset: number): void {
    for (const record of records) {
      for (const follower of this.#followers.values()) this.#enqueue(follower.scan(record))
    }
    for (const follower of this.#followers.values()) this.#enqueue(follower.passTo(nextOffset))
    this.#tail.add(records)
    this.#position = Math.max(this.#position, nextOffset)
    for (const follower of this.#followers.values())
      if (!follower.holdsLane && follower.pending.bytes >= this.pendingBytesMax) this.#leave(follower)
  }

  /** Kafka's outage is no reason for triggers to wait (P6): what cannot be written now is read again later. */
  #leave(follower: Follower): void {
    this.#followers.delete(follower.trigger.id)
    this.#parts.onLeft(follower, this)
  }

  #enqueue(entries: readonly LaneEntry[]): void {
    for (const entry of entries) this.#parts.enqueue(entry)
  }

  #pendingBytes(): number {
    let bytes = 0
    for (const { pending, holdsLane } of this.#followers.values()) if (holdsLane) bytes += pending.bytes
    return bytes
  }

  #settled(follower: Follower): void {
    if (!follower.live && this.#followers.get(follower.trigger.id) === follower)
      this.#followers.delete(follower.trigger.id)
    this.#drainSoon()
  }

  /** Asks to be fetched again once there is room. */
  #offerRoom(): void {
    if (!this.#wasFull) return
    this.#wasFull = false
    if (!this.isFull()) this.#parts.consumer.resume(this.topic, this.partition)
  }

  #wait(): void {
    if (this.#state === 'closed') return
    this.#state = 'waiting'
    this.#dropAll()
  }

  #close(): void {
    this.#state = 'closed'
    this.#dropAll()
  }

  #dropAll(): void {
    this.#life += 1
    this.#clearBuffer()
    for (const follower of [...this.#followers.values(), ...this.#chasers.values()]) follower.drop()
    this.#followers.clear()
    this.#chasers.clear()
    this.#tail.end()
  }

  #clearBuffer(): void {
    this.#buffer = []
    this.#bufferedBytes = 0
  }
}
