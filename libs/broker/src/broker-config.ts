import { ConnectionSecurity } from './security/connection-security.ts'
import type { KafkaSecuritySource } from './security/kafka-security.ts'

/** What the library says about itself; a pino logger fits. Every warning and error carries a stable `event`. */
export interface BrokerLogger {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export interface TopicSettings {
  /** `create`: make what is missing; `verify`: fail on what is missing; `off`: ask nothing. Default `create`. */
  mode?: 'create' | 'verify' | 'off'
  /**
   * Copies of each partition. Default 1; production wants 3. With three or more, two must hold a record before it counts
   * as written (`min.insync.replicas`). -1 leaves both to the brokers' own defaults.
   */
  replicationFactor?: number
}

export interface BrokerConfig {
  /** Addresses to start from, `host:port`; `[::1]:9092` for IPv6. At least one. */
  brokers: string[]
  clientId: string
  /** Longest wait for one TCP/TLS connection (ms). Default 2,000: below the 5 s in which a publish must be answered. */
  connectionTimeoutMs?: number
  /** Longest wait for one answer (ms). Default 10,000. */
  requestTimeoutMs?: number
  logger: BrokerLogger
  topics?: TopicSettings
  /** TLS and SASL; neither by default. */
  security?: KafkaSecuritySource
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** What every connection needs to know: the config with its defaults filled in. */
export interface LinkSettings {
  readonly bootstrap: readonly Address[]
  readonly clientId: string
  readonly connectionTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly logger: BrokerLogger
  readonly security: ConnectionSecurity
}

const CONNECTION_TIMEOUT_MS = 2_000
const REQUEST_TIMEOUT_MS = 10_000
const DEFAULT_PORT = 9092

/** Reads `host`, `host:port` or `[v6]:port`. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[^:\s]+))(?::(?<port>\d{1,5}))?$/.exec(text.trim())
  const host = match?.groups?.['v6'] ?? match?.groups?.['host']
  const port = Number(match?.groups?.['port'] ?? DEFAULT_PORT)
  if (host === undefined || port < 1 || port > 65_535)
    throw new RangeError(`not a Kafka address (host:port): "${text}"`)
  return { host, port }
}

export function linkSettings(config: BrokerConfig): LinkSettings {
  if (config.brokers.length === 0) throw new RangeError('brokers: at least one address is needed')
  return {
    bootstrap: config.brokers.map(parseAddress),
    clientId: config.clientId,
    connectionTimeoutMs: config.connectionTimeoutMs ?? CONNECTION_TIMEOUT_MS,
    requestTimeoutMs: config.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    logger: config.logger,
    security: new ConnectionSecurity(config.security),
  }
}
