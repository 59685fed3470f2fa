import { indexEventTypes } from '@headrace/core'
import type { EventTypeSetting } from '@headrace/schemas'
import { EventTypeCheck } from './event-type-check.ts'

export interface KnownEventType {
  readonly type: EventTypeSetting
  /** Rises with every change of it. */
  readonly revision: number
}

/** The event types as a process knows them; what has not changed stays compiled. */
export class EventTypeChecks {
  readonly #known = new Map<string, { check: EventTypeCheck; revision: number }>()
  #find: (topic: string) => Known | null = () => null

  set(types: readonly KnownEventType[]): void {
    const names = new Set(types.map(({ type }) => type.name))
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name)
    for (const { type, revision } of types)
      if (this.#known.get(type.name)?.revision !== revision)
        this.#known.set(type.name, { check: new EventTypeCheck(type), revision })
    const checks = [...this.#known.values()].map(({ check }) => ({ pattern: check.type.pattern, check }))
    this.#find = checks.length === 0 ? () => null : indexEventTypes(checks)
  }

  /** By what the data of a topic's events is checked; null: by nothing. */
  of(topic: string): EventTypeCheck | null {
    const check = this.#find(topic)?.check
    return check === undefined || check.type.mode === 'off' ? null : check
  }
}

interface Known {
  readonly pattern: string
  readonly check: EventTypeCheck
}
