/** Every limit, with its unit. Settings may lower or raise those that say so. */
export const limits = {
  /** One event as encoded on Kafka, key and headers included. Below the topics' 2 MiB, so a batch header always fits. */
  eventBytesMax: 1_000_000,
  requestBytesMax: 16 * 1024 * 1024,
  requestEventsMax: 10_000,
  topicCharactersMax: 200,
  topicSegmentsMax: 8,
  idCharactersMax: 256,
  /** What an `integer` of Postgres holds: epochs, orders of steps, partitions. */
  integerMax: 2_147_483_647,
  sourceCharactersMax: 256,
  eventTypeCharactersMax: 200,
  keyBytesMax: 1_024,
  idempotencyKeyCharactersMax: 255,
  /** Of a CloudEvent: each is a header of its record. */
  extensionsMax: 50,
  extensionNameCharactersMax: 100,
  mediaTypeCharactersMax: 200,
  /** One line of NDJSON: an event of the largest size with its escapes. */
  lineBytesMax: 2 * 1024 * 1024,
  jsonDepthMax: 64,
  /** Rules of a workflow that cancel its runs: each is a wait of every run. */
  cancelOnMax: 5,
  /** 16 KiB: what the `if` of such a rule asks of a run's first event is kept with each run. */
  cancelValueBytesMax: 16 * 1024,
  /** Runs of one concurrency key at a time; whoever lets the next one in counts them. */
  concurrencyMax: 1_000,
  windowEventsMax: 1_000,
  windowBytesMax: 1024 * 1024,
  /** 24 h: longer windows would hold their cursor, and with it retention, behind for longer than the look-back. */
  windowTimeoutMsMax: 24 * 3600 * 1000,
  /** Of one trigger at once: each holds a cursor on every partition of its range, and the ids that it may meet. */
  replaysRunningMax: 10,
  stepOutputBytesMax: 1024 * 1024,
  stepsPerRunMax: 1_000,
  stepKeyCharactersMax: 200,
  openWaitsPerRunMax: 100,
  waitMsDefault: 24 * 3600 * 1000,
  /** 24 h: how far back a wait finds every event; of older ones the latest of each topic. */
  lookbackMsDefault: 24 * 3600 * 1000,
  filterCharactersMax: 2_000,
  /** The end of the year 9999, in ms since 1970: the last time that RFC 3339 can say. */
  timeMsMax: 253_402_300_799_999,
  waitMsMax: 366 * 24 * 3600 * 1000,
  /** As long as a run may wait. */
  runTimeoutMsMax: 366 * 24 * 3600 * 1000,
  runDelayMsMax: 366 * 24 * 3600 * 1000,
  /** Runs that one bulk request acts on: some seconds of work. */
  bulkRunsMax: 10_000,
  /** Runs that a dry run of a bulk request counts. */
  bulkCountMax: 100_000,
  streamsMax: 200,
  /** Input that travels inside the task record; larger input is returned by the claim. */
  taskInputBytesMax: 32 * 1024,
  errorBytesMax: 16 * 1024,
  commandsPerRequestMax: 2_000,
  /** API keys that are not revoked: every gateway holds them all. */
  keysMax: 1_000,
  keyScopesMax: 50,
  keyNameCharactersMax: 100,
  keyEventsPerSecondMax: 1_000_000,
  /** 30 days: for so long the secret before a rotation may stay valid. */
  keyGraceMsMax: 30 * 24 * 3600 * 1000,
  /** What the audit log keeps of a thing before and after a change, each: 4 KiB of JSON. */
  auditBytesMax: 4 * 1024,
  /** Every gateway holds them all. */
  eventTypesMax: 1_000,
  eventTypesPerWorkerMax: 200,
  /** 256 KiB of JSON: a quarter of what one record of the config topic may hold. */
  eventTypeSchemaBytesMax: 256 * 1024,
  subjectCharactersMax: 255,
  runInputBytesMax: 1024 * 1024,
  tagsMax: 20,
  tagCharactersMax: 200,
  workflowsPerWorkerMax: 500,
  workerConcurrencyMax: 10_000,
  /** Longest `?wait=` of a run, in ms. */
  runWaitMsMax: 60_000,
  /** Faults that one problem lists; the rest is counted in its detail. */
  problemErrorsMax: 100,
  listLimitMax: 200,
  listLimitDefault: 50,
} as const
