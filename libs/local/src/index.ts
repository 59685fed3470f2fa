export { cacheFolder } from './cache-folder.ts'
export { DataFolderInUseError, folderHolder, lockFolder, type FolderLock } from './data-folder.ts'
export { freePort } from './free-port.ts'
export { hasDocker, hasImage, KAFKA_IMAGE, kafkaImageSettings } from './kafka-docker.ts'
export { kafkaAnswers } from './kafka-ready.ts'
export { cachedKafkaJars, fetchKafkaJars, KAFKA_VERSION, type OnProgress } from './kafka-jars.ts'
export type { KafkaExtras } from './kafka-properties.ts'
export { NoKafkaError, startKafka, type LocalKafka, type StartKafkaOptions } from './kafka.ts'
export { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts'
export { POSTGRES_IMAGE, startPostgres, type LocalPostgres, type StartPostgresOptions } from './postgres.ts'
export { APICURIO_VERSION } from './schema-registry-files.ts'
export { endOrphans, type OrphanSearch } from './server-process.ts'
export { resetDataFolder } from './reset.ts'
export {
  type LocalSchemaRegistry,
  startSchemaRegistry,
  type StartSchemaRegistryOptions,
} from './schema-registry.ts'
