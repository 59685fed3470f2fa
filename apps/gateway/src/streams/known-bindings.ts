import { BoundStreams, type Broker, createConfigReader, type Setting } from '@headrace/broker'
import { bindingRuleSchema, type StreamBinding } from '@headrace/schemas'
import { createDuty, type Duty, limited, type ServiceContext } from '@headrace/service'

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
  { broker, prefix }: { broker: Pick<Broker, 'readRange'>; prefix: string },
): KnownBindings {
  const streams = new BoundStreams(prefix)
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

  const duty = createDuty({
    name: 'config.read',
    everyMs: READ_EVERY_MS,
    log,
    clock,
    metrics,
    runOnce: async (signal) => {
      await reader.readOn(signal)
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
