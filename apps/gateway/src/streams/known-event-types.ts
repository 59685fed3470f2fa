import type { ConfigReader, Setting } from '@headrace/broker'
import { EventTypeChecks } from '@headrace/registry'
import { type EventTypeSetting, eventTypeSettingSchema } from '@headrace/schemas'
import { limited, type ServiceContext } from '@headrace/service'

const SAY_EVERY_MS = 60_000

/**
 * The event types, as the config topic tells them: schemas with their ids, so that publishing asks no registry. Taken over
 * whenever that was read on; while Kafka is away those that were known stay known.
 */
export interface KnownEventTypes {
  readonly checks: EventTypeChecks
  take(reader: Pick<ConfigReader, 'settings'>): void
}

export function createKnownEventTypes({
  log,
  clock,
}: Pick<ServiceContext, 'log' | 'clock'>): KnownEventTypes {
  const checks = new EventTypeChecks()
  let known = new Map<string, { revision: number; type: EventTypeSetting | null }>()

  /** Null: it is of a version that this one does not understand, and checks nothing. */
  function typeOf({ name, value }: Setting): EventTypeSetting | null {
    const type = eventTypeSettingSchema.safeParse(value)
    if (type.success) return type.data
    limited(log, `config/event_type/${name}`, SAY_EVERY_MS, clock).error(
      { event: 'config.not_understood', code: 'invalid_setting', event_type: name },
      'an event type on the config topic is not understood by this version; its events are not checked',
    )
    return null
  }

  return {
    checks,
    take(reader) {
      const settings = [...reader.settings('event_type').values()]
      // Read twice a second: they are long, and change rarely.
      const isSame =
        settings.length === known.size &&
        settings.every(({ name, revision }) => known.get(name)?.revision === revision)
      if (isSame) return
      known = new Map(
        settings.map((setting) => {
          const { name, revision } = setting
          const before = known.get(name)
          return [name, before?.revision === revision ? before : { revision, type: typeOf(setting) }]
        }),
      )
      checks.set(
        [...known.values()].flatMap(({ type, revision }) => (type === null ? [] : [{ type, revision }])),
      )
    },
  }
}
