import { type KafkaSecuritySource, securitySettings } from '@headrace/broker'
import { type RegistryAccess, registrySettings } from '@headrace/registry'
import {
  ConfigError,
  databaseSettings,
  databaseUrlOf,
  durationSetting,
  integerSetting,
  kafkaSettings,
  type LogLevel,
  managementSettings,
  parseConfig,
  processSettings,
} from '@headrace/service'
import { z } from 'zod'

/** What the trigger service is told; parsed once. */
export interface TriggerServiceConfig {
  /** Where the management port is bound. */
  host: string
  managementPort: number
  kafka: {
    brokers: string[]
    topics: 'create' | 'verify' | 'off'
    replicationFactor: number
    /** TLS and SASL; files that it names are read for each connection. */
    security: KafkaSecuritySource
  }
  /** First part of the names of all Kafka topics and groups. */
  prefix: string
  databaseUrl: string
  /** Null: nothing is read or written by a schema's id. */
  schemaRegistry: RegistryAccess | null
  /** How often cursors of lanes without windows are moved on. */
  progressEveryMs: number
  /** Queued runs of a workflow past which its triggers wait. */
  queuedRunsMax: number
  drainTimeoutMs: number
  logLevel: LogLevel
}

/** Far below any retention, and one statement for all lanes of an instance. */
const PROGRESS_EVERY_DEFAULT_MS = 3_000

/** Minutes of work for one worker of short runs; rows that are read through once a second, by every instance. */
const QUEUED_RUNS_MAX_DEFAULT = 10_000
const QUEUED_RUNS_MAX_MOST = 1_000_000

const settings = z.object({
  ...kafkaSettings,
  ...databaseSettings,
  ...processSettings,
  ...managementSettings({ managementPort: 9081 }),
  HEADRACE_HOST: z.string().default('127.0.0.1'),
  HEADRACE_FLUSH_PROGRESS_INTERVAL: durationSetting().default(PROGRESS_EVERY_DEFAULT_MS),
  HEADRACE_QUEUED_RUNS_MAX: integerSetting({ least: 1, most: QUEUED_RUNS_MAX_MOST }).default(
    QUEUED_RUNS_MAX_DEFAULT,
  ),
})

/** Throws ConfigError, which names each variable that is wrong. */
export function parseTriggerServiceConfig(env: NodeJS.ProcessEnv): TriggerServiceConfig {
  const values = parseConfig(settings, env)
  const { security, problems } = securitySettings(env)
  const registry = registrySettings(env)
  const wrong = [...problems, ...registry.problems]
  if (wrong.length > 0) throw new ConfigError(wrong)
  return {
    host: values.HEADRACE_HOST,
    managementPort: values.HEADRACE_MANAGEMENT_PORT,
    kafka: {
      brokers: values.HEADRACE_KAFKA_BROKERS,
      topics: values.HEADRACE_KAFKA_TOPICS,
      replicationFactor: values.HEADRACE_KAFKA_REPLICATION_FACTOR,
      security,
    },
    prefix: values.HEADRACE_PREFIX,
    databaseUrl: databaseUrlOf(values),
    schemaRegistry: registry.access,
    progressEveryMs: values.HEADRACE_FLUSH_PROGRESS_INTERVAL,
    queuedRunsMax: values.HEADRACE_QUEUED_RUNS_MAX,
    drainTimeoutMs: values.HEADRACE_DRAIN_TIMEOUT,
    logLevel: values.HEADRACE_LOG_LEVEL,
  }
}
