export {
  DataFolderInUseError,
  folderHolder,
  lockFolder,
  resetDataFolder,
  type FolderLock,
} from './data-folder.ts'
export { freePort } from './free-port.ts'
export { hasDocker, hasImage, KAFKA_IMAGE, kafkaImageSettings } from './kafka-docker.ts'
export { kafkaAnswers } from './kafka-ready.ts'
export { KAFKA_VERSION, type OnProgress } from './kafka-jars.ts'
export { NoKafkaError, startKafka, type LocalKafka, type StartKafkaOptions } from './kafka.ts'
export { startPostgres, type LocalPostgres, type StartPostgresOptions } from './postgres.ts'
export { endOrphans, type OrphanSearch } from './server-process.ts'
