/** What is due at a time, unless it was closed before. */
interface Due {
  readonly deadlineMs: number | null
  readonly closed: boolean
}

/** Closed ones that it may hold before they are looked for, beside as many as are open. */
const CLOSED_MAX = 1_000

/**
 * Open windows by their deadlines: a binary heap. Log times need not rise (those of other people's topics may be the
 * producers'), so the order of the log would not do. A window that closed otherwise stays until its time comes, or until
 * such are the most.
 */
export class Deadlines<Item extends Due> {
  #heap: Item[] = []

  add(item: Item, openCount: number): void {
    if (item.deadlineMs === null) return
    if (this.#heap.length >= 2 * openCount + CLOSED_MAX) this.#rebuild()
    this.#heap.push(item)
    this.#rise(this.#heap.length - 1)
  }

  /** Takes out what is due at `timeMs` and still open. */
  takeDue(timeMs: number): Item[] {
    const due: Item[] = []
    for (let [first] = this.#heap; first !== undefined && at(first) <= timeMs; [first] = this.#heap) {
      this.#removeFirst()
      if (!first.closed) due.push(first)
    }
    return due
  }

  clear(): void {
    this.#heap = []
  }

  #rebuild(): void {
    // Sorted, an array is a heap.
    this.#heap = this.#heap.filter(({ closed }) => !closed).sort((a, b) => at(a) - at(b))
  }

  #removeFirst(): void {
    const last = this.#heap.pop()
    if (last === undefined || this.#heap.length === 0) return
    this.#heap[0] = last
    this.#sink()
  }

  #rise(from: number): void {
    for (let index = from; index > 0;) {
      const above = (index - 1) >>> 1
      if (!this.#swapped(above, index)) return
      index = above
    }
  }

  #sink(): void {
    for (let index = 0; ;) {
      const left = 2 * index + 1
      const right = this.#heap[left + 1]
      const other = this.#heap[left]
      const below = right !== undefined && other !== undefined && at(right) < at(other) ? left + 1 : left
      if (!this.#swapped(index, below)) return
      index = below
    }
  }

  /** Puts the earlier of the two above; false when it was there, or there is none below. */
  #swapped(above: number, below: number): boolean {
    const [a, b] = [this.#heap[above], this.#heap[below]]
    if (a === undefined || b === undefined || at(a) <= at(b)) return false
    this.#heap[above] = b
    this.#heap[below] = a
    return true
  }
}

const at = ({ deadlineMs }: Due): number => deadlineMs ?? Number.POSITIVE_INFINITY
