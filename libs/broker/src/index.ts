export { type Broker, createBroker } from './broker.ts'
export type { BrokerConfig, BrokerLogger, TopicSettings } from './broker-config.ts'
export { BrokerError, LinkError } from './broker-error.ts'
export {
  type ConfigReader,
  createConfigReader,
  ensureConfigTopic,
  writeSettings,
} from './config-topic/config-topic.ts'
export type { Setting, SettingKind } from './config-topic/setting.ts'
export type {
  ConsumerState,
  LanedConsumer,
  LanedConsumerOptions,
  LaneHandler,
  PushAnswer,
} from './consume/lane.ts'
export type { OffsetRange } from './offsets.ts'
export {
  type CoalescingProducer,
  DEADLINE_MS,
  PARTITION_RECORDS_MAX,
  type ProduceOutcome,
  type ProducerOptions,
  RECORD_BYTES_MAX,
  recordBytes,
  REQUEST_BYTES_MAX,
} from './produce/produce-outcome.ts'
export type { RangeChunk, ReadRange } from './read-range.ts'
export { readRecord, type ReadRecord } from './read-record.ts'
export {
  type IncomingBatch,
  type IncomingRecord,
  type OutgoingRecord,
  partitionKey,
  type TopicPartitions,
} from './records.ts'
export { BoundStreams, type StreamCatalog } from './topics/bound-streams.ts'
export type {
  KafkaSecurity,
  KafkaSecuritySource,
  OAuthClient,
  OAuthSasl,
  PasswordSasl,
  SaslOptions,
} from './security/kafka-security.ts'
export {
  SECURITY_SETTINGS,
  type SecuritySettings,
  securitySettings,
  type SettingProblem,
} from './security/security-settings.ts'
export {
  KAFKA_PARTS,
  type KafkaPart,
  kafkaPlan,
  type KafkaPlan,
  type KafkaPlanOptions,
  type PlannedAcl,
} from './topics/kafka-plan.ts'
export { aclCommand, topicCommand } from './topics/topic-commands.ts'
export { murmur2, partitionFor } from './topics/partition-for.ts'
export {
  createStreamDirectory,
  longStreamNameFault,
  type StreamDirectory,
  type StreamDirectoryOptions,
  StreamsRefusedError,
  tooManyStreamsFault,
} from './topics/stream-directory.ts'
export type { AclAdmin } from './topics/acl-admin.ts'
export { sameSetting } from './topics/topic-admin.ts'
export type {
  EnsureReport,
  TopicAdmin,
  TopicConfigValue,
  TopicWarning,
  WantedTopic,
} from './topics/topic-admin.ts'
export {
  configTopic,
  deadLettersTopic,
  eventsTopic,
  MESSAGE_BYTES_MAX,
  responsesTopic,
  streamOfTopic,
  tasksTopic,
  type TopicPlan,
} from './topics/topic-plan.ts'
