/** A wait that ends early when poked. A poke with nobody waiting is kept for the next wait, so none is missed. */
export class WakeUp {
  #resolve: (() => void) | null = null
  #poked = false

  poke(): void {
    if (this.#resolve === null) this.#poked = true
    else this.#resolve()
  }

  async wait(ms: number): Promise<void> {
    if (this.#poked) {
      this.#poked = false
      return
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.#resolve = resolve
    await promise
    this.#resolve = null
    clearTimeout(timer)
  }
}
