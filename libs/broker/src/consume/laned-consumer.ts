import type { LinkSettings } from '../broker-config.ts'
import type { LanedConsumer, LanedConsumerOptions } from './lane.ts'
export function createLanedConsumer(_settings: LinkSettings, _options: LanedConsumerOptions): LanedConsumer {
  throw new Error('x')
}
