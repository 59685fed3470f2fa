export type { Activity } from './activity.ts'
export { systemClock, type Clock } from './clock.ts'
export {
  ConfigError,
  nearestName,
  parseConfig,
  type ConfigProblem,
  type Environment,
  type ParseConfigOptions,
} from './config.ts'
export { installCrashPoint } from './crash-point.ts'
export { codeOf, createDuty, DutyStoppedError, type Duty, type DutyOptions } from './duty.ts'
export { createHealth, type CheckResult, type Health, type HealthCheck, type Readiness } from './health.ts'
export {
  createLogger,
  limited,
  LOG_LEVELS,
  silentLogger,
  type LogFields,
  type Logger,
  type LoggerOptions,
  type LogLevel,
} from './log.ts'
export { EXIT_CODES, runMain, type MainOptions, type Stoppable } from './main.ts'
export {
  startManagementServer,
  type ManagementServer,
  type ManagementServerOptions,
} from './management-server.ts'
export {
  createMetrics,
  SECONDS_BUCKETS,
  type CreateMetricsOptions,
  type GaugeOptions,
  type HistogramOptions,
  type MetricOptions,
  type Metrics,
} from './metrics.ts'
export { createPostgresMetrics, type PostgresMetrics } from './postgres-metrics.ts'
export { explainListenError, listen, PortTakenError, type ListenOptions } from './port-taken.ts'
export { toRunningApp, toStoppable, type AppAddress, type RunningApp } from './running-app.ts'
export { scrubSecrets } from './secrets.ts'
export {
  DRAIN_TIMEOUT_DEFAULT_MS,
  DrainTimeoutError,
  runService,
  ServiceStoppedError,
  type RunningService,
  type ServiceContext,
  type ServiceOptions,
  type StopOutcome,
} from './service.ts'
export { KNOWN_SETTINGS } from './setting-names.ts'
export {
  addressListSetting,
  databaseSettings,
  databaseUrlOf,
  durationSetting,
  integerSetting,
  kafkaSettings,
  listenSettings,
  managementSettings,
  portSetting,
  processSettings,
  switchSetting,
  urlSetting,
} from './settings.ts'
export { SPAN_LINKS_MAX, startTracing, type TraceSpan, type Tracing } from './tracing.ts'
export { version } from './version.ts'
