import { eventsTopic } from '@headrace/broker'
import type { SchemaRegistry } from '@headrace/registry'
import {
  eventTypeName,
  type EventTypeWarning,
  type FieldFault,
  limits,
  type ProblemCode,
  ProblemError,
  type PutEventType,
  streamOf,
  type WorkerRegistration,
} from '@headrace/schemas'
import type { Logger } from '@headrace/service'
import {
  deleteEventType,
  type EventTypeRecord,
  newerBuildLives,
  readEventTypes,
  type RegisteredVersion,
  type Store,
  writeEventTypes,
} from '@headrace/store'
import type { KnownBindings } from '../streams/known-bindings.ts'
import { unusableSchema } from './usable-schema.ts'
import { type EventTypePlan, isTaken, planEventType, type Registering } from './plan-event-type.ts'

/** Who may register event types: workers and the API, the API alone, or nobody. */
export const schemaRegisterModes = ['worker', 'cli', 'never'] as const
export type SchemaRegisterMode = (typeof schemaRegisterModes)[number]

/** Requests to the registry for one registration at once. */
const ASKED_AT_ONCE_MAX = 8
/** Each is overtaken by a change that was made: so many changes of one event type within one request are no accident. */
const ATTEMPTS_MAX = 10

export interface EventTypesOptions {
  store: Store
  prefix: string
  /** Null: no schema registry is configured. */
  registry: SchemaRegistry | null
  mode: SchemaRegisterMode
  known: KnownBindings
  /** Tells the gateways what has changed. */
  tell: () => void
  log: Logger
}

export interface PutOutcome {
  type: EventTypeRecord
  isNew: boolean
}

/**
 * Event types as they are changed: by the API, and by workers that register. The schema registry is asked before Postgres is
 * written: what it refuses, or cannot be asked for, changes nothing here. A version that it took although the rest failed is
 * found again by the next try.
 */
export class EventTypes {
  readonly #options: EventTypesOptions

  constructor(options: EventTypesOptions) {
    this.#options = options
  }

  /**
   * Throws `event_type_exists`, `schema_unusable`, `schema_incompatible`, `schema_registry_unavailable`, `too_many_event_types`,
   * `schema_register_off`.
   */
  async put(body: PutEventType, signal: AbortSignal): Promise<PutOutcome> {
    this.#refuseWhereOff()
    const [plan] = await this.#change([body], { at: () => '', signal, goesBack: true })
    const [type] = await readEventTypes(this.#options.store, [eventTypeName(body.pattern)])
    if (plan === undefined || type === undefined)
      throw new ProblemError('event_type_not_found', 'The event type was deleted at the same time')
    return { type, isNew: plan.stored === null }
  }

  /** What {@link put} would do, as far as can be known without doing it. Throws what it would. */
  async tryPut(body: PutEventType, signal: AbortSignal): Promise<EventTypePlan> {
    this.#refuseWhereOff()
    const [plan] = await this.#plans([body], () => '')
    if (plan === undefined) throw new Error('there is one plan for one event type')
    const { register } = plan
    if (register !== null) await placed('/schema', async () => await this.#registry.check(register, signal))
    return plan
  }

  /**
   * The event types that a worker brings. All of them are registered, or none: then this throws, with the place of each fault.
   * Where registering is not theirs, or a newer build of the app lives, they are only compared.
   */
  async register(
    { app, build, event_types: bodies }: WorkerRegistration,
    signal: AbortSignal,
  ): Promise<EventTypeWarning[]> {
    if (bodies.length === 0) return []
    const { mode, store, log } = this.#options
    const at = (index: number): string => `/event_types/${index}`
    refuseDoubles(bodies)
    // What can be said against them is said where they would be registered.
    const plans = await this.#plans(bodies, null)
    const warnings: EventTypeWarning[] = []
    if (plans.every(({ isSame }) => isSame)) return []
    if (mode !== 'worker' || (await newerBuildLives(store, { app, build }))) {
      const reason = mode === 'worker' ? 'a newer build of the app lives' : `HEADRACE_SCHEMA_REGISTER=${mode}`
      for (const { name, stored, isSame } of plans) if (!isSame) warnings.push(compared(name, stored, reason))
    } else {
      const done = await this.#change(bodies, { at, signal, goesBack: false })
      for (const { name, isOlder } of done)
        if (isOlder)
          warnings.push({
            name,
            code: 'event_type_differs',
            detail: `${name} stays as it is: the schema is an older version of it`,
          })
    }
    for (const { name, code, detail } of warnings)
      log.warn({ event: 'event_type.differs', code, event_type: name, worker_app: app, build }, detail)
    return warnings
  }

  /** What the registry has stays there. Throws `event_type_not_found`, `schema_register_off`. */
  async remove(name: string): Promise<void> {
    this.#refuseWhereOff()
    if (!(await deleteEventType(this.#options.store, name))) throw noEventType(name)
    this.#options.log.info({ event: 'event_type.deleted', event_type: name }, 'an event type was deleted')
    this.#options.tell()
  }

  #refuseWhereOff(): void {
    if (this.#options.mode === 'never')
      throw new ProblemError(
        'schema_register_off',
        'HEADRACE_SCHEMA_REGISTER=never: event types stay as they are',
      )
  }

  get #registry(): SchemaRegistry {
    const { registry } = this.#options
    if (registry === null) throw new Error('nothing is registered without a registry')
    return registry
  }

  /** `at`: the place of each in the request, for what cannot be registered; null: they are only compared. */
  async #plans(
    bodies: readonly PutEventType[],
    at: ((index: number) => string) | null,
  ): Promise<EventTypePlan[]> {
    const { store, known } = this.#options
    await known.refresh()
    const names = bodies.map(({ pattern }) => eventTypeName(pattern))
    const stored = new Map((await readEventTypes(store, names)).map((type) => [type.name, type]))
    const plans = bodies.map((body, index) => {
      const name = names[index] ?? ''
      const there = stored.get(name) ?? null
      return { body, there, plan: planEventType(body, there, this.#registering(body, name)) }
    })
    const faults =
      at === null
        ? []
        : plans.flatMap(({ body, there, plan }, index) => faultsOf({ body, there, plan, at: at(index) }))
    if (faults.length > 0) throw ProblemError.fromFaults(faults)
    return plans.map(({ plan }) => plan)
  }

  #registering({ pattern }: PutEventType, name: string): Registering {
    const { registry, prefix, known } = this.#options
    const stream = streamOf(pattern)
    const binding = known.streams.bindingOf(stream)
    const isOwnUrl = registry === null ? null : (url: string) => registry.isOwnUrl(url)
    if (binding === null)
      return { subject: `${eventsTopic(prefix, stream).name}-${name}`, owned: true, isOwnUrl }
    // Whoever writes a topic registers the schemas of it.
    const { kafka_topic: topic, writable } = binding.rule
    return { subject: `${topic}-value`, owned: false, isOwnUrl: writable ? isOwnUrl : null }
  }

  /** One plan for each, as it was carried out. */
  async #change(
    bodies: readonly PutEventType[],
    how: { at: (index: number) => string; signal: AbortSignal; goesBack: boolean },
  ): Promise<(EventTypePlan & { isOlder: boolean })[]> {
    const { store, log } = this.#options
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      const plans = await this.#plans(bodies, how.at)
      const known = await each(
        plans,
        async (plan, index) => await this.#check(plan, how.at(index), how.signal),
      )
      const older = plans.map(
        ({ stored, write }, index) => !how.goesBack && isBefore(known[index] ?? null, stored, write.subject),
      )
      const due = plans
        .map((plan, index) => ({ ...plan, at: how.at(index), isOlder: older[index] === true }))
        .filter(({ isSame, isOlder }) => !isSame && !isOlder)
      const registered = await each(due, async (plan) => await this.#registered(plan, how.signal))
      const written = due.map(({ write }, index) => ({ ...write, registered: registered[index] ?? null }))
      const outcome = written.length === 0 ? null : await writeEventTypes(store, written, limits)
      if (outcome?.kind === 'overtaken') continue
      if (outcome?.kind === 'too_many')
        throw new ProblemError(
          'too_many_event_types',
          `There may be ${limits.eventTypesMax} event types at most`,
        )
      for (const { name, revision } of outcome?.types ?? [])
        log.info({ event: 'event_type.changed', event_type: name, revision }, 'an event type was changed')
      if (outcome !== null) this.#options.tell()
      return plans.map((plan, index) => ({ ...plan, isOlder: older[index] === true }))
    }
    throw new ProblemError('overloaded', 'The event type is being changed by others; send the request again')
  }

  /** Nothing is registered before all are known to fit. */
  async #check(
    { register, isSame }: EventTypePlan,
    at: string,
    signal: AbortSignal,
  ): Promise<RegisteredVersion | null> {
    if (register === null || isSame) return null
    return await placed(`${at}/schema`, async () => {
      try {
        return await this.#registry.check(register, signal)
      } catch (error) {
        if (!(error instanceof ProblemError) || error.code !== 'schema_incompatible') throw error
        // Not every registry says why when it is asked; each does when it refuses.
        return await this.#registry.register(register, signal)
      }
    })
  }

  async #registered(
    { register, write, at }: EventTypePlan & { at: string },
    signal: AbortSignal,
  ): Promise<RegisteredVersion | null> {
    if (register === null) return write.registered
    return await placed(`${at}/schema`, async () => await this.#registry.register(register, signal))
  }
}

/** The version that a worker brings is one before the version in force: another app, or another build, has gone on. */
const isBefore = (
  brought: RegisteredVersion | null,
  stored: EventTypeRecord | null,
  subject: string,
): boolean =>
  brought !== null &&
  stored?.subject === subject &&
  stored.registered !== null &&
  brought.version < stored.registered.version

/** In order, so many at a time. */
async function each<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  for (let from = 0; from < items.length; from += ASKED_AT_ONCE_MAX) {
    const some = items.slice(from, from + ASKED_AT_ONCE_MAX)
    results.push(...(await Promise.all(some.map(async (item, index) => await work(item, from + index)))))
  }
  return results
}

/** What the registry says of a schema, with the place of the schema in the request. */
async function placed<Result>(pointer: string, work: () => Promise<Result>): Promise<Result> {
  const own: readonly ProblemCode[] = ['schema_incompatible', 'schema_unusable']
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ProblemError) || !own.includes(error.code)) throw error
    throw ProblemError.fromFaults([{ pointer, code: error.code, detail: error.message }])
  }
}

/** Nobody can say which of two is meant. */
function refuseDoubles(bodies: readonly PutEventType[]): void {
  const names = bodies.map(({ pattern }) => eventTypeName(pattern))
  const faults = names.flatMap((name, index): FieldFault[] =>
    names.indexOf(name) === index
      ? []
      : [
          {
            pointer: `/event_types/${index}/pattern`,
            code: 'registration_conflict',
            detail: `the event type ${name} stands twice in this registration`,
          },
        ],
  )
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
}

function faultsOf({
  body,
  there,
  plan,
  at,
}: {
  body: PutEventType
  there: EventTypeRecord | null
  plan: EventTypePlan
  at: string
}): FieldFault[] {
  if (there !== null && isTaken(body, there)) {
    const detail = `the event type ${plan.name} has the pattern ${there.pattern}`
    return [{ pointer: `${at}/pattern`, code: 'event_type_exists', detail }]
  }
  return plan.isSame ? [] : unusableSchema(body, `${at}/schema`)
}

const compared = (name: string, stored: EventTypeRecord | null, reason: string): EventTypeWarning =>
  stored === null
    ? {
        name,
        code: 'event_type_not_registered',
        detail: `there is no event type ${name}, and the worker may not register it: ${reason}`,
      }
    : {
        name,
        code: 'event_type_differs',
        detail: `the event type ${name} is another one than the worker's, and stays as it is: ${reason}`,
      }

export const noEventType = (name: string): ProblemError =>
  new ProblemError('event_type_not_found', `There is no event type ${JSON.stringify(name.slice(0, 200))}`)
