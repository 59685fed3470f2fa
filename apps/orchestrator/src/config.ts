import { type KafkaSecuritySource, securitySettings } from '@headrace/broker'
import { type RegistryAccess, registrySettings } from '@headrace/registry'
import {
  ConfigError,
  databaseSettings,
  databaseUrlOf,
  durationSetting,
  type Environment,
  integerSetting,
  kafkaSettings,
  listenSettings,
  type LogLevel,
  parseConfig,
  processSettings,
  switchSetting,
  urlSetting,
} from '@headrace/service'
import { type Access, accessOf } from '@headrace/http'
import { decisionsKeptMsDefault, type Retention, retentionDefault } from '@headrace/store'
import { z } from 'zod'
import { type SchemaRegisterMode, schemaRegisterModes } from './event-types/event-types.ts'

/** Kafka's own bound is far higher; a topic of ours with more is a typo. */
const PARTITIONS_MAX = 1_000

const settings = z.object({
  ...kafkaSettings,
  ...databaseSettings,
  ...processSettings,
  ...listenSettings({ port: 8082, managementPort: 9082 }),
  HEADRACE_AUTH: switchSetting().default(true),
  /** Where workers reach this instance; without it, where it listens. */
  HEADRACE_ORCHESTRATOR_ADVERTISED_URL: urlSetting(['http', 'https']).optional(),
  HEADRACE_STREAM_AUTOCREATE: switchSetting().default(true),
  HEADRACE_STREAM_PARTITIONS: integerSetting({ least: 1, most: PARTITIONS_MAX }).default(4),
  /** For life: waits look for their answer in the partition of their topic. */
  HEADRACE_RESPONSE_PARTITIONS: integerSetting({ least: 1, most: PARTITIONS_MAX }).default(4),
  HEADRACE_TASK_PARTITIONS: integerSetting({ least: 1, most: PARTITIONS_MAX }).default(4),
  /** Bring Postgres's schema up to date at the start; off: only check its version. */
  HEADRACE_MIGRATE: switchSetting().default(true),
  HEADRACE_SCHEMA_REGISTER: z
    .enum(schemaRegisterModes, { error: 'must be worker, cli or never' })
    .default('worker'),
  HEADRACE_RETENTION_RUNS: durationSetting().default(retentionDefault.endedMs),
  HEADRACE_RETENTION_FAILED_RUNS: durationSetting().default(retentionDefault.failedMs),
  HEADRACE_RETENTION_DECISIONS: durationSetting().default(decisionsKeptMsDefault),
})

export interface OrchestratorConfig {
  kafka: {
    brokers: string[]
    prefix: string
    topics: 'create' | 'verify' | 'off'
    replicationFactor: number
    /** TLS and SASL; files that it names are read for each connection. */
    security: KafkaSecuritySource
    /** Is a stream made when the first event of a run comes for it. */
    streamAutocreate: boolean
    streamPartitions: number
    taskPartitions: number
    responsePartitions: number
  }
  databaseUrl: string
  /** Null: nothing is read or written by a schema's id. */
  schemaRegistry: RegistryAccess | null
  /** Who may change event types. */
  schemaRegister: SchemaRegisterMode
  migrate: boolean
  host: string
  port: number
  managementPort: number
  /** Null: the URL it listens on. */
  advertisedUrl: string | null
  access: Access
  retention: Retention & { decisionsMs: number }
  logLevel: LogLevel
  drainTimeoutMs: number
}

/** Throws ConfigError, which names every variable that is wrong. */
export function parseOrchestratorConfig(env: Environment): OrchestratorConfig {
  const parsed = parseConfig(settings, env)
  const { security, problems } = securitySettings(env)
  const registry = registrySettings(env)
  const wrong = [...problems, ...registry.problems]
  if (wrong.length > 0) throw new ConfigError(wrong)
  return {
    kafka: {
      brokers: parsed.HEADRACE_KAFKA_BROKERS,
      prefix: parsed.HEADRACE_PREFIX,
      topics: parsed.HEADRACE_KAFKA_TOPICS,
      replicationFactor: parsed.HEADRACE_KAFKA_REPLICATION_FACTOR,
      security,
      streamAutocreate: parsed.HEADRACE_STREAM_AUTOCREATE,
      streamPartitions: parsed.HEADRACE_STREAM_PARTITIONS,
      taskPartitions: parsed.HEADRACE_TASK_PARTITIONS,
      responsePartitions: parsed.HEADRACE_RESPONSE_PARTITIONS,
    },
    databaseUrl: databaseUrlOf(parsed),
    schemaRegistry: registry.access,
    schemaRegister: parsed.HEADRACE_SCHEMA_REGISTER,
    migrate: parsed.HEADRACE_MIGRATE,
    host: parsed.HEADRACE_HOST,
    port: parsed.HEADRACE_PORT,
    managementPort: parsed.HEADRACE_MANAGEMENT_PORT,
    advertisedUrl: parsed.HEADRACE_ORCHESTRATOR_ADVERTISED_URL?.replace(/\/+$/, '') ?? null,
    access: accessOf(parsed.HEADRACE_AUTH),
    retention: {
      endedMs: parsed.HEADRACE_RETENTION_RUNS,
      failedMs: parsed.HEADRACE_RETENTION_FAILED_RUNS,
      decisionsMs: parsed.HEADRACE_RETENTION_DECISIONS,
    },
    logLevel: parsed.HEADRACE_LOG_LEVEL,
    drainTimeoutMs: parsed.HEADRACE_DRAIN_TIMEOUT,
  }
}
