import { BoundStreams, type Broker, createConfigReader, type Setting } from '@headrace/broker'
import type { Frames } from '@headrace/core'
import { bindingRuleSchema, type StreamBinding } from '@headrace/schemas'
import { createDuty, type Duty, limited, type ServiceContext } from '@headrace/service'
import type { KnownEventTypes } from './known-event-types.ts'
import type { KnownKeys } from './known-keys.ts'

/** How late a binding may be known here; one fetch each. */
const READ_EVERY_MS = 500
const SAY_EVERY_MS = 60_000

/** The external streams, as the config topic tells them: without Postgres, and without the orchestrator (P9). */
export interface KnownBindings {
  readonly streams: BoundStreams
  /** Resolves when the config topic was read to its end once, or is not there. */
  whenKnown(): Promise<void>
  /** Reads on now: what was written before is known when it resolves. Rejects when Kafka cannot be asked. */
  readNow(): Promise<void>
  readonly duty: Duty
}

export function createKnownBindings(
  { log, clock, metrics, health }: Pick<ServiceContext, 'log' | 'clock' | 'metrics' | 'health'>,
  {
    broker,
    prefix,
    frames,
    keys,
    eventTypes,
  }: {
    broker: Pick<Broker, 'readRange'>
    prefix: string
    frames: Frames | null
    keys: Pick<KnownKeys, 'take'>
    eventTypes: Pick<KnownEventTypes, 'take'>
  },
): KnownBindings {
  const streams = new BoundStreams(prefix, frames)
  const reader = createConfigReader(broker, prefix)
  const { promise: known, resolve } = Promise.withResolvers<void>()
  const readiness = health.check('config')
  readiness.fail('the config topic has not been read yet')

  /** Null: it is of a version that this one does not understand; what was known of it before stays. */
  function bindingOf({ name: stream, revision, value }: Setting): StreamBinding | null {
    const rule = bindingRuleSchema.safeParse(value)
    if (rule.success) return { stream, rule: rule.data, revision }
    limited(log, `config/${stream}`, SAY_EVERY_MS, clock).error(
      { event: 'config.not_understood', code: 'invalid_setting', stream, detail: rule.error.message },
      'a binding on the config topic is not understood by this version',
    )
    return streams.bindingOf(stream)
  }

  let readAtMs = clock.now()
  metrics.gauge({
    name: 'gateway_config_age_seconds',
    help: 'Time since the config topic was last read to its end, or since the start.',
    collect: (gauge) => gauge.set(Math.max(0, clock.now() - readAtMs) / 1_000),
  })

  const duty = createDuty({
    name: 'config.read',
    everyMs: READ_EVERY_MS,
    log,
    clock,
    metrics,
    runOnce: async (signal) => {
      await reader.readOn(signal)
      readAtMs = clock.now()
      keys.take(reader)
      eventTypes.take(reader)
      streams.set([...reader.settings('stream').values()].flatMap((setting) => bindingOf(setting) ?? []))
      readiness.ok()
      resolve()
    },
  })
  return {
    streams,
    duty,
    whenKnown: async () => await known,
    readNow: async () => await duty.runOnce(),
  }
}
