export { freePort } from '@headrace/local'
export { allow, type AllowedAcl } from './allow.ts'
export { abortTransaction } from './abort-transaction.ts'
export { type Authority, type Certificate, createAuthority, joinPem } from './certificates.ts'
export { createDatabase, createEmptyDatabase, type TestDatabase } from './database.ts'
export { eventually, type EventuallyOptions } from './eventually.ts'
export { expireRecords } from './expire-records.ts'
export { atFileEnd, endEverything } from './file-end.ts'
export { infra, testFolder } from './infra.ts'
export { movableClock, type MovableClock } from './movable-clock.ts'
export {
  isRefused,
  startOwnKafka,
  startOwnPostgres,
  startOwnSchemaRegistry,
  type OwnKafka,
  type OwnPostgres,
  type OwnSchemaRegistry,
  type OwnServer,
} from './own-server.ts'
export { readTopic, type LogRecord } from './read-topic.ts'
export {
  type SecuredKafka,
  type SecuredKafkaOptions,
  startSecuredKafka,
  unsecuredToken,
} from './secured-kafka.ts'
export { type ForeignRecord, sendForeign } from './send-foreign.ts'
export {
  REPOSITORY,
  startHeadrace,
  startProcess,
  type ProcessExit,
  type StartProcessOptions,
  type TestProcess,
} from './test-process.ts'
export { writeCompacted } from './write-compacted.ts'
