/**
 * An AbortController that is made when somebody first asks for its signal: most runs end without anybody having looked,
 * and two controllers a run, with the error that an abort makes, were a tenth of a short run's cost.
 */
export class LazyAbort {
  #controller: AbortController | null = null
  #reason: (() => Error) | null = null

  get aborted(): boolean {
    return this.#reason !== null
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#reason !== null) this.#controller.abort(this.#reason())
    }
    return this.#controller.signal
  }

  /** The first reason stays. The reason is made only when it is needed. */
  abort(reason: () => Error): void {
    if (this.#reason !== null) return
    this.#reason = reason
    this.#controller?.abort(reason())
  }
}
