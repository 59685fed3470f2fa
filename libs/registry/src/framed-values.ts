import { setTimeout } from 'node:timers/promises'
import { frameOf, type Frames, type ReadFrame } from '@headrace/core'
import { compileSchema, type SchemaReader } from './decode/schema-reader.ts'
import type { RegistryAccess } from './registry-access.ts'
import { createSchemaSource, type SchemaSource } from './schema-source.ts'

/** Compiled schemas kept; beyond, the one that was asked for longest ago goes. */
const SCHEMAS_KEPT_MAX = 1_000
/**
 * An id that the registry does not have is asked for again after these pauses before that is believed: the replica that is
 * asked may learn later of it than the writer of its records.
 */
const UNKNOWN_PAUSES_MS = [300, 1_200]
/** What is believed so is asked for again after that. */
const UNKNOWN_KEPT_MS = 30_000
/** Requests to the registry under way at once. */
const ASKED_AT_ONCE_MAX = 8

/** Null: the registry has no such schema. */
type Known = SchemaReader | null

/** Of each id of a chunk of records: known, asked for, not in the registry, or the registry did not say. */
export type SchemaLookup = 'hit' | 'miss' | 'unknown' | 'failed'

/** A clock that only goes forward, in ms. */
interface Forward {
  readonly now: () => number
  /** Rejects when `signal` is aborted. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<unknown>
}

/**
 * Reads framed values by the schemas of a registry.
 *
 * S1  what is known is answered without the registry, however long that is away
 * S2  an id is asked for once at a time, whoever wants it
 * S3  a reader keeps the schemas it was made for: none of them goes while it reads
 */
export class FramedValues implements Frames {
  readonly #source: SchemaSource
  readonly #clock: Forward
  readonly #count: (result: SchemaLookup) => void
  readonly #known = new Map<number, { reader: Known; since: number }>()
  readonly #asked = new Map<number, Promise<Known>>()

  constructor(source: SchemaSource, clock: Forward, count: (result: SchemaLookup) => void = () => {}) {
    this.#source = source
    this.#clock = clock
    this.#count = count
  }

  reader(ids: ReadonlySet<number>, signal?: AbortSignal): ReadFrame | Promise<ReadFrame> {
    if (ids.size === 0) return readNothing
    const readers = new Map<number, Known>()
    const missing: number[] = []
    for (const id of ids) {
      const known = this.#find(id)
      if (known === undefined) missing.push(id)
      else {
        readers.set(id, known)
        this.#count('hit')
      }
    }
    return missing.length === 0 ? readBy(readers) : this.#ask(missing, readers, signal)
  }

  #find(id: number): Known | undefined {
    const found = this.#known.get(id)
    if (found === undefined) return undefined
    if (found.reader === null && this.#clock.now() - found.since > UNKNOWN_KEPT_MS) return undefined
    this.#known.delete(id)
    this.#known.set(id, found)
    return found.reader
  }

  async #ask(missing: number[], readers: Map<number, Known>, signal?: AbortSignal): Promise<ReadFrame> {
    let left = await this.#askAll(missing, readers, signal)
    for (const pauseMs of UNKNOWN_PAUSES_MS) {
      if (left.length === 0) break
      await this.#clock.sleep(pauseMs, signal)
      left = await this.#askAll(left, readers, signal)
    }
    // Another may have been told of it meanwhile.
    for (const id of left) if (!this.#known.get(id)?.reader) this.#keep(id, null)
    return readBy(readers)
  }

  /** Those that the registry does not have. */
  async #askAll(ids: number[], readers: Map<number, Known>, signal?: AbortSignal): Promise<number[]> {
    const left = ids.values()
    const askNext = async (): Promise<void> => {
      for (const id of left) {
        signal?.throwIfAborted()
        readers.set(id, await this.#askOne(id))
      }
    }
    await Promise.all(Array.from({ length: Math.min(ASKED_AT_ONCE_MAX, ids.length) }, askNext))
    return ids.filter((id) => readers.get(id) === null)
  }

  async #askOne(id: number): Promise<Known> {
    const under = this.#asked.get(id)
    if (under !== undefined) return await under
    const asking = this.#read(id).finally(() => this.#asked.delete(id))
    this.#asked.set(id, asking)
    return await asking
  }

  async #read(id: number): Promise<Known> {
    const schema = await this.#source.byId(id).catch((error: unknown) => {
      this.#count('failed')
      throw error
    })
    this.#count(schema === null ? 'unknown' : 'miss')
    if (schema === null) return null
    const reader = compileSchema(schema)
    this.#keep(id, reader)
    return reader
  }

  #keep(id: number, reader: Known): void {
    this.#known.delete(id)
    this.#known.set(id, { reader, since: this.#clock.now() })
    const [oldest] = this.#known.keys()
    if (this.#known.size > SCHEMAS_KEPT_MAX && oldest !== undefined) this.#known.delete(oldest)
  }
}

const readBy =
  (readers: ReadonlyMap<number, Known>): ReadFrame =>
  (bytes, { type, unions, json }) => {
    const frame = frameOf(bytes)
    const reader = frame === null ? undefined : readers.get(frame.id)
    if (frame === null || reader === undefined)
      return undecodable('it does not begin with the frame of a schema')
    if (reader === null) {
      const detail = `the schema registry has no schema ${frame.id}`
      return { kind: 'unreadable', reason: 'unknown_schema', detail }
    }
    if (type !== null && reader.type !== type)
      return undecodable(`its schema ${frame.id} is ${reader.type} and not ${type}`)
    const read = reader.read(frame.payload, unions, json)
    return read.kind === 'data' ? read : undecodable(read.detail)
  }

const undecodable = (detail: string): ReturnType<ReadFrame> => ({
  kind: 'unreadable',
  reason: 'undecodable',
  detail,
})

const readNothing = readBy(new Map())

const forward: Forward = {
  now: () => performance.now(),
  sleep: async (ms, signal) => await setTimeout(ms, undefined, { ref: false, ...(signal && { signal }) }),
}

/** What this library wants of an app's metrics. */
interface Counters {
  counter(metric: { name: string; help: string; labels: readonly ['result'] }): {
    inc(labels: { result: SchemaLookup }): void
  }
}

/** By the schemas of this registry; null: none is configured. */
export function framesOf(access: RegistryAccess | null, metrics: Counters): Frames | null {
  if (access === null) return null
  const lookups = metrics.counter({
    name: 'schema_cache_total',
    help: 'Schema ids of framed records by how they were found: known (hit), asked for (miss), not in the registry, or the registry failed.',
    labels: ['result'],
  })
  return new FramedValues(createSchemaSource(access), forward, (result) => lookups.inc({ result }))
}
