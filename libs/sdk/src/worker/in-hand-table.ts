// Also loaded by the heartbeat's thread from source and from dist: it imports nothing.

export interface InHandRun {
  run_id: string
  epoch: number
}

/** Int32 fields of a slot: a version (odd while it is written), the epoch (0: empty), and the 16 bytes of the run's id. */
const SLOT = 6
const HEADER = 2
const STEALING = 0

/**
 * The runs in hand and claims in flight, in memory that the heartbeat's thread reads by itself: it must be able to tell
 * them while the main loop is blocked, and they change far too often to be sent as messages.
 */
export class InHandTable {
  readonly buffer: SharedArrayBuffer
  readonly #fields: Int32Array
  readonly #free: number[] = []
  readonly #slots = new Map<string, number>()

  constructor(capacity: number) {
    this.buffer = new SharedArrayBuffer((HEADER + capacity * SLOT) * 4)
    this.#fields = new Int32Array(this.buffer)
    for (let slot = capacity - 1; slot >= 0; slot -= 1) this.#free.push(slot)
  }

  get size(): number {
    return this.#slots.size
  }

  has(run: InHandRun): boolean {
    return this.#slots.has(nameOf(run))
  }

  /** False when it is there already, or the table is full. */
  add(run: InHandRun): boolean {
    const name = nameOf(run)
    if (this.#slots.has(name)) return false
    const slot = this.#free.pop()
    if (slot === undefined) return false
    this.#slots.set(name, slot)
    this.#write(slot, run.epoch, run.run_id)
    return true
  }

  remove(run: InHandRun): void {
    const name = nameOf(run)
    const slot = this.#slots.get(name)
    if (slot === undefined) return
    this.#slots.delete(name)
    this.#write(slot, 0, null)
    this.#free.push(slot)
  }

  #write(slot: number, epoch: number, runId: string | null): void {
    const at = HEADER + slot * SLOT
    const fields = this.#fields
    Atomics.add(fields, at, 1)
    Atomics.store(fields, at + 1, epoch)
    if (runId !== null) {
      const hex = runId.replaceAll('-', '')
      for (let word = 0; word < 4; word += 1)
        Atomics.store(fields, at + 2 + word, Number.parseInt(hex.slice(word * 8, word * 8 + 8), 16) | 0)
    }
    Atomics.add(fields, at, 1)
  }

  /** While a steal is in flight, what it takes is not known here: absence proves nothing. */
  setStealing(stealing: boolean): void {
    Atomics.store(this.#fields, STEALING, stealing ? 1 : 0)
  }
}

const nameOf = (run: InHandRun): string => `${run.run_id}/${run.epoch}`

/** The table as another thread sees it. A slot that is being written at this moment is read again. */
export function readInHand(buffer: SharedArrayBuffer): { stealing: boolean; runs: InHandRun[] } {
  const fields = new Int32Array(buffer)
  // The flag first: it falls only after what was stolen is in the table, so "not stealing" vouches for what follows.
  const stealing = Atomics.load(fields, STEALING) === 1
  const runs: InHandRun[] = []
  for (let at = HEADER; at + SLOT <= fields.length; at += SLOT) {
    const run = readSlot(fields, at)
    if (run !== null) runs.push(run)
  }
  return { stealing, runs }
}

function readSlot(fields: Int32Array, at: number): InHandRun | null {
  for (;;) {
    const version = Atomics.load(fields, at)
    if (version % 2 !== 0) continue
    const epoch = Atomics.load(fields, at + 1)
    const words = [2, 3, 4, 5].map((word) => Atomics.load(fields, at + word))
    if (Atomics.load(fields, at) !== version) continue
    return epoch === 0 ? null : { run_id: uuidOf(words), epoch }
  }
}

function uuidOf(words: number[]): string {
  const hex = words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
