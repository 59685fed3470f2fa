/**
 * Every `HEADRACE_*` variable that some part of Headrace reads. The apps often share one environment (a compose
 * file, a `.env`), so each must know the others' names to tell a neighbour's setting from a typo of its own.
 * A setting that is new anywhere is added here. (`HEADRACE_TEST_*` is always let pass.)
 */
export const KNOWN_SETTINGS = [
  'HEADRACE_KAFKA_BROKERS',
  'HEADRACE_PREFIX',
  'HEADRACE_KAFKA_TOPICS',
  'HEADRACE_KAFKA_REPLICATION_FACTOR',
  'HEADRACE_KAFKA_PARTITIONS',
  'HEADRACE_DATABASE_URL',
  'HEADRACE_DATABASE_POOL_MAX',
  'HEADRACE_LOG_LEVEL',
  'HEADRACE_HOST',
  'HEADRACE_PORT',
  'HEADRACE_MANAGEMENT_PORT',
  'HEADRACE_DRAIN_TIMEOUT',
  'HEADRACE_AUTH',
  'HEADRACE_ORCHESTRATOR_URL',
  'HEADRACE_ORCHESTRATOR_ADVERTISED_URL',
  'HEADRACE_URL',
  'HEADRACE_API_KEY',
  'HEADRACE_APP',
  'HEADRACE_BUILD_ID',
  'HEADRACE_CRASH_POINT',
] as const
