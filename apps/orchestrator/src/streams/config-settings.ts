import {
  type Broker,
  type CoalescingProducer,
  createConfigReader,
  ensureConfigTopic,
  eventsTopic,
} from '@headrace/broker'
import { type Setting, writeSettings } from '@headrace/broker'
import type { StreamBinding } from '@headrace/schemas'
import { type Clock, createDuty, type Duty, limited, type Logger, type Metrics } from '@headrace/service'
import { listStreamBindings, raiseConfigRevisions, type Store } from '@headrace/store'
import { type SettingSource, settingSources } from './setting-source.ts'

/** What a death between the commit and the record costs at most: so long gateways go by the setting before. */
const REPAIR_EVERY_MS = 5_000
const SAY_EVERY_MS = 60_000

export interface ConfigSettingsOptions {
  broker: Pick<Broker, 'topics' | 'readRange'>
  producer: Pick<CoalescingProducer, 'produce'>
  store: Store
  prefix: string
  log: Logger
  clock: Clock
  metrics: Metrics
}

/**
 * Compares the config topic with Postgres and writes what differs: after a death between a commit and its record, for two
 * records that came in the wrong order, on a topic that was made anew, and for a Postgres that was put back to an earlier point. Any number of instances may do it at once: a
 * record that is there twice is one, and an older one that comes late is known by its revision.
 */
export function createConfigRepair(options: ConfigSettingsOptions): Duty {
  const { broker, producer, store, prefix, log, clock, metrics } = options
  const reader = createConfigReader(broker, prefix)
  return createDuty({
    name: 'config.repair',
    everyMs: REPAIR_EVERY_MS,
    log,
    clock,
    metrics,
    runOnce: async (signal) => {
      // Before Postgres is read: what is found to differ then was not overtaken by this reading.
      const isThere = await reader.readOn(signal)
      // What is told from now on counts against all that was told, also by a Postgres that was put back to an earlier point.
      if (isThere) await raiseConfigRevisions(store, reader.highestRevision)
      const missing: Setting[] = []
      for (const source of settingSources(store)) {
        // Of a topic that was deleted nothing stands: a gateway that starts now would know of no setting.
        const none = new Map<string, Setting>()
        const told = isThere
          ? { counted: reader.counted(source.kind), last: reader.lastWritten(source.kind) }
          : { counted: none, last: none }
        const standing = await listNotOvertaken(source, told.counted, log)
        missing.push(...(await differences(source, standing, told)))
      }
      if (missing.length > 0) {
        await ensureConfigTopic(broker, prefix)
        await writeSettings(producer, prefix, missing)
        log.info(
          { event: 'config.repaired', settings: missing.length },
          'settings were told anew on the config topic',
        )
      }
      await sayShadowed(options, await listStreamBindings(store))
    },
  })
}

type Standing = Awaited<ReturnType<SettingSource['list']>>

/**
 * What stands, under revisions that count. Those that were told under higher ones are of a Postgres that was put back to an
 * earlier point, and still the truth.
 */
async function listNotOvertaken(
  source: SettingSource,
  counted: ReadonlyMap<string, Setting>,
  log: Logger,
): Promise<Standing> {
  const standing = await source.list()
  const overtaken = standing.filter(({ name, revision }) => (counted.get(name)?.revision ?? 0) > revision)
  if (overtaken.length === 0) return standing
  await source.renew(overtaken.map(({ name }) => name))
  log.warn(
    { event: 'config.overtaken', kind: source.kind, settings: overtaken.length },
    'Postgres has older settings than were told, as after a restore to an earlier point; its own are told anew',
  )
  return await source.list()
}

async function differences(
  source: SettingSource,
  standing: Standing,
  { counted, last }: Record<'counted' | 'last', ReadonlyMap<string, Setting>>,
): Promise<Setting[]> {
  const names = new Set(standing.map(({ name }) => name))
  const differ = standing.filter(({ name, revision }) => last.get(name)?.revision !== revision)
  const stale = differ.length === 0 ? [] : await source.read(differ.map(({ name }) => name))
  const left = [...counted.values(), ...last.values()].filter(
    ({ name, value }) => value !== null && !names.has(name),
  )
  const deleted: Setting[] = []
  for (const name of new Set(left.map((setting) => setting.name))) {
    const revision = await source.goneRevision(name)
    // Else it was made again meanwhile, and that is told under a revision of its own.
    if (revision !== null) deleted.push({ kind: source.kind, name, value: null, revision })
  }
  return [...stale, ...deleted]
}

/** An event that a gateway accepted before it heard of a binding is on a topic that nobody reads any more (P7). */
async function sayShadowed(
  { broker, prefix, log, clock }: ConfigSettingsOptions,
  bindings: readonly StreamBinding[],
): Promise<void> {
  if (bindings.length === 0) return
  const { known } = await broker.topics.describe(
    bindings.map(({ stream }) => eventsTopic(prefix, stream).name),
  )
  for (const { stream, rule } of bindings) {
    const topic = eventsTopic(prefix, stream).name
    if (!known.has(topic)) continue
    limited(log, `shadowed/${stream}`, SAY_EVERY_MS, clock).error(
      { event: 'stream.shadowed', code: 'stream_shadowed', stream, topic, kafka_topic: rule.kafka_topic },
      'this stream is bound to another Kafka topic and has one of its own as well: what lies there is read by nobody',
    )
  }
}
