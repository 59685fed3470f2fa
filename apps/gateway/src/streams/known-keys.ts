import type { ConfigReader } from '@headrace/broker'
import { KeyRing } from '@headrace/http'
import { keySettingSchema } from '@headrace/schemas'
import { limited, type ServiceContext } from '@headrace/service'

const SAY_EVERY_MS = 60_000

/**
 * The API keys, as the config topic tells them. Taken over whenever that was read on; while Kafka is away those that were
 * known stay known, and until a first one was told nobody can be told from anybody: what no orchestrator has written to
 * yet, or is about to write to anew, says nothing about who may not pass.
 */
export interface KnownKeys {
  readonly ring: KeyRing
  take(reader: Pick<ConfigReader, 'settings' | 'counted'>): void
}

export function createKnownKeys({ log, clock }: Pick<ServiceContext, 'log' | 'clock'>): KnownKeys {
  const ring = new KeyRing(() => clock.now())
  return {
    ring,
    take(reader) {
      if (reader.counted('key').size === 0) return
      const keys = [...reader.settings('key').values()].flatMap(({ name: id, value }) => {
        const key = keySettingSchema.safeParse(value)
        if (key.success) return [{ id, ...key.data }]
        limited(log, `config/key/${id}`, SAY_EVERY_MS, clock).error(
          { event: 'config.not_understood', code: 'invalid_setting', key_id: id },
          'an API key on the config topic is not understood by this version; nobody passes with it',
        )
        return []
      })
      ring.set(keys)
    },
  }
}
