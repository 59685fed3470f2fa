import { type KafkaSecuritySource, securitySettings } from '@headrace/broker'
import { type RegistryAccess, registrySettings } from '@headrace/registry'
import { type Access, accessOf } from '@headrace/http'
import {
  ConfigError,
  integerSetting,
  kafkaSettings,
  listenSettings,
  type LogLevel,
  parseConfig,
  processSettings,
  switchSetting,
  urlSetting,
} from '@headrace/service'
import { z } from 'zod'

/** What the gateway is told; parsed once. */
export interface GatewayConfig {
  host: string
  /** 0 = any free port. */
  port: number
  managementPort: number
  access: Access
  kafka: {
    brokers: string[]
    topics: 'create' | 'verify' | 'off'
    replicationFactor: number
    /** TLS and SASL; files that it names are read for each connection. */
    security: KafkaSecuritySource
  }
  /** First part of the names of all Kafka topics. */
  prefix: string
  /** Null: nothing is read or written by a schema's id. */
  schemaRegistry: RegistryAccess | null
  /** Sent with what this instance says of itself to the orchestrator; null: none. */
  apiKey: string | null
  /** Base URL of the orchestrator, which answers the rest of `/v1`. */
  orchestratorUrl: string
  streams: {
    /** Is a stream made when the first event for it comes. */
    autocreate: boolean
    /** Partitions of the streams made here. */
    partitions: number
  }
  inFlight: { bytesMax: number; eventsMax: number }
  drainTimeoutMs: number
  logLevel: LogLevel
}

/** Bodies in flight; parsed and encoded they take four to five times as much memory. */
const INFLIGHT_BYTES_DEFAULT = 64 * 1024 * 1024
/** Small events cost more than their bytes say: about 2 KiB each while they are in flight. */
const INFLIGHT_EVENTS_DEFAULT = 50_000
/** Of one topic; Kafka takes more, but each costs every broker and consumer. */
const PARTITIONS_MAX = 1_000

const settings = z.object({
  ...kafkaSettings,
  ...processSettings,
  ...listenSettings({ port: 8080, managementPort: 9080 }),
  HEADRACE_AUTH: switchSetting().default(true),
  HEADRACE_API_KEY: z.string().optional(),
  HEADRACE_ORCHESTRATOR_URL: urlSetting(['http', 'https']).default('http://127.0.0.1:8082'),
  HEADRACE_STREAM_AUTOCREATE: switchSetting().default(true),
  HEADRACE_STREAM_PARTITIONS: integerSetting({ least: 1, most: PARTITIONS_MAX }).default(4),
  HEADRACE_INFLIGHT_BYTES_MAX: integerSetting({ least: 1, most: 2 ** 40 }).default(INFLIGHT_BYTES_DEFAULT),
  HEADRACE_INFLIGHT_EVENTS_MAX: integerSetting({ least: 1, most: 10_000_000 }).default(
    INFLIGHT_EVENTS_DEFAULT,
  ),
})

/** Throws ConfigError, which names each variable that is wrong. */
export function parseGatewayConfig(env: NodeJS.ProcessEnv): GatewayConfig {
  const values = parseConfig(settings, env)
  const { security, problems } = securitySettings(env)
  const registry = registrySettings(env)
  const wrong = [...problems, ...registry.problems]
  if (wrong.length > 0) throw new ConfigError(wrong)
  return {
    host: values.HEADRACE_HOST,
    port: values.HEADRACE_PORT,
    managementPort: values.HEADRACE_MANAGEMENT_PORT,
    access: accessOf(values.HEADRACE_AUTH),
    kafka: {
      brokers: values.HEADRACE_KAFKA_BROKERS,
      topics: values.HEADRACE_KAFKA_TOPICS,
      replicationFactor: values.HEADRACE_KAFKA_REPLICATION_FACTOR,
      security,
    },
    prefix: values.HEADRACE_PREFIX,
    schemaRegistry: registry.access,
    apiKey: values.HEADRACE_API_KEY ?? null,
    orchestratorUrl: values.HEADRACE_ORCHESTRATOR_URL.replace(/\/+$/, ''),
    streams: {
      autocreate: values.HEADRACE_STREAM_AUTOCREATE,
      partitions: values.HEADRACE_STREAM_PARTITIONS,
    },
    inFlight: {
      bytesMax: values.HEADRACE_INFLIGHT_BYTES_MAX,
      eventsMax: values.HEADRACE_INFLIGHT_EVENTS_MAX,
    },
    drainTimeoutMs: values.HEADRACE_DRAIN_TIMEOUT,
    logLevel: values.HEADRACE_LOG_LEVEL,
  }
}
