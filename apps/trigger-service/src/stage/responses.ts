import { responsesTopic } from '@headrace/broker'
import { decodeResponse, type ResponseRecord } from '@headrace/core'
import { projectionTriggerId } from '@headrace/store'
import type { Scene } from './scene.ts'

const RESPONSE_PARTITIONS = 4

/** What a scene's runs wait for, and what is copied for them. */
export class Responses {
  readonly #scene: Scene

  constructor(scene: Scene) {
    this.#scene = scene
  }

  get topic(): string {
    return responsesTopic(this.#scene.prefix).name
  }

  /** Makes the response topic, as an orchestrator does. */
  async open(): Promise<this> {
    const { broker, prefix } = this.#scene
    await broker.topics.ensureTopics([{ ...responsesTopic(prefix), partitions: RESPONSE_PARTITIONS }])
    return this
  }

  /** Somebody waits for events of the stream from a time on (ms since 1970), as the first wait, or an earlier one, says. */
  async waitFrom(ms: number, stream = 'orders'): Promise<void> {
    await this.#scene.store.general.query(
      `insert into waited_streams (stream, projected_from) values ($1, to_timestamp($2::float8 / 1000))
       on conflict (stream) do update set projected_from = excluded.projected_from
       where waited_streams.projected_from > excluded.projected_from`,
      [stream, ms],
    )
  }

  /** Every response, each partition in the order of its log. */
  async all(): Promise<ResponseRecord[]> {
    const { broker } = this.#scene
    const found: ResponseRecord[] = []
    for (const partition of (await broker.offsets(this.topic)).keys()) {
      for await (const { records } of broker.readRange({ topic: this.topic, partition, from: 0, to: null })) {
        for (const record of records) {
          const decoded = decodeResponse({ ...record, partition })
          if (decoded.kind === 'unreadable') throw new Error(`${decoded.reason}: ${decoded.detail}`)
          found.push(decoded.response)
        }
      }
    }
    return found
  }

  /** The data of each event copied, once, lowest first. */
  async numbers(): Promise<number[]> {
    const numbers = (await this.all()).map(({ event }) => event.data as number)
    return [...new Set(numbers)].sort((a, b) => a - b)
  }

  /** Where the projection of each partition is. */
  async cursors(): Promise<Map<number, number>> {
    const { rows } = await this.#scene.store.general.query<{ partition: number; next_offset: number }>(
      `select partition, next_offset from trigger_cursors where trigger_id = $1 order by partition`,
      [projectionTriggerId],
    )
    return new Map(rows.map(({ partition, next_offset }) => [partition, next_offset]))
  }

  async projections(): Promise<{ from_offset: number; projected_from: number }[]> {
    const { rows } = await this.#scene.store.general.query<{ from_offset: number; projected_from: number }>(
      'select from_offset, projected_from from projections order by partition',
    )
    return rows
  }
}

/** Names events for ever. */
export const positionOf = ({ event, incarnation }: ResponseRecord): string =>
  `${event.stream}/${incarnation}/${event.partition}/${event.sequenceId}`
