import type { Broker } from '../broker.ts'
import { BrokerError } from '../broker-error.ts'
import type { CoalescingProducer } from '../produce/produce-outcome.ts'
import { configTopic } from '../topics/topic-plan.ts'
import { CONFIG_PARTITIONS, decodeSetting, encodeSetting, type Setting, type SettingKind } from './setting.ts'

/**
 * The config topic as one process has read it. It is read from its beginning into memory and then on from there, whenever
 * `readOn` is called; all settings together are small.
 *
 * C1  of a setting the highest revision counts, in whatever order two writers' records came
 * C2  what was once read stays known while Kafka is away
 * C3  a topic that was made anew is read from its beginning, and counts when it was read to its end
 */
export interface ConfigReader {
  /** Reads up to the end as it is now. False: there is no such topic, so no setting. Rejects as `Broker.readRange` does. */
  readOn(signal?: AbortSignal): Promise<boolean>
  /** Settings that stand, by name. */
  settings(kind: SettingKind): ReadonlyMap<string, Setting>
  /** Of each name the record that counts (C1), deletions too. */
  counted(kind: SettingKind): ReadonlyMap<string, Setting>
  /** Of each name the record that stands last on the topic, deletions too: what compaction will leave of it. */
  lastWritten(kind: SettingKind): ReadonlyMap<string, Setting>
  /** Of all records that were read; 0 before the first. */
  readonly highestRevision: number
}

export function createConfigReader(broker: Pick<Broker, 'readRange'>, prefix: string): ConfigReader {
  return new Reader(broker, configTopic(prefix).name)
}

class Reader implements ConfigReader {
  readonly #broker: Pick<Broker, 'readRange'>
  readonly #topic: string
  #known = new Settings()

  constructor(broker: Pick<Broker, 'readRange'>, topic: string) {
    this.#broker = broker
    this.#topic = topic
  }

  async readOn(signal?: AbortSignal): Promise<boolean> {
    try {
      if (await this.#read(this.#known, signal)) return true
      const anew = new Settings()
      await this.#read(anew, signal)
      this.#known = anew
      return true
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== 'unknown_topic') throw error
      return false
    }
  }

  settings(kind: SettingKind): ReadonlyMap<string, Setting> {
    const counted = [...this.counted(kind)]
    return new Map(counted.filter(([, { value }]) => value !== null))
  }

  counted(kind: SettingKind): ReadonlyMap<string, Setting> {
    return this.#known.highest(kind)
  }

  lastWritten(kind: SettingKind): ReadonlyMap<string, Setting> {
    return this.#known.last(kind)
  }

  get highestRevision(): number {
    return this.#known.highestRevision
  }

  /** False: the log does not hold its position, so it was made anew. */
  async #read(into: Settings, signal: AbortSignal | undefined): Promise<boolean> {
    const range = { topic: this.#topic, partition: 0, from: into.position, to: null }
    for await (const chunk of this.#broker.readRange(signal === undefined ? range : { ...range, signal })) {
      for (const record of chunk.records) {
        const setting = decodeSetting(record)
        if (setting !== null) into.take(setting)
      }
      if (chunk.end === 'out_of_range') {
        if (into.position > 0) return false
        // Cut at its beginning, which a compacted topic is only by hand.
        into.position = chunk.lowWatermark
        return await this.#read(into, signal)
      }
      into.position = chunk.nextOffset
    }
    return true
  }
}

class Settings {
  position = 0
  highestRevision = 0
  readonly #highest = new Map<string, Setting>()
  readonly #last = new Map<string, Setting>()

  take(setting: Setting): void {
    const key = `${setting.kind}/${setting.name}`
    this.#last.set(key, setting)
    this.highestRevision = Math.max(this.highestRevision, setting.revision)
    if ((this.#highest.get(key)?.revision ?? -1) <= setting.revision) this.#highest.set(key, setting)
  }

  highest(kind: SettingKind): Map<string, Setting> {
    return ofKind(this.#highest, kind)
  }

  last(kind: SettingKind): Map<string, Setting> {
    return ofKind(this.#last, kind)
  }
}

const ofKind = (settings: ReadonlyMap<string, Setting>, kind: SettingKind): Map<string, Setting> =>
  new Map([...settings.values()].flatMap((each) => (each.kind === kind ? [[each.name, each]] : [])))

/** Sees to it that the config topic is there. Throws `topics_missing` where it may not be made. */
export async function ensureConfigTopic({ topics }: Pick<Broker, 'topics'>, prefix: string): Promise<void> {
  await topics.ensureTopics([{ ...configTopic(prefix), partitions: CONFIG_PARTITIONS }])
}

/**
 * Writes settings that are committed already. Rejects with a BrokerError when one was not acknowledged; it may be there
 * all the same, and writing it again does no harm.
 */
export async function writeSettings(
  producer: Pick<CoalescingProducer, 'produce'>,
  prefix: string,
  settings: readonly Setting[],
): Promise<void> {
  const outcomes = await producer.produce(settings.map((setting) => encodeSetting(prefix, setting)))
  for (const outcome of outcomes) {
    if (outcome.status === 'written') continue
    const retryable = outcome.status === 'unknown' || outcome.retryable
    throw new BrokerError(outcome.code, `a setting was not written: ${outcome.message}`, { retryable })
  }
}
