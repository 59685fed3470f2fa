import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerLogger, TopicSettings } from '../broker-config.ts'
import { BrokerError, codeMessage, KAFKA, kafkaError, topicAcl } from '../broker-error.ts'
import type { Cluster, TopicView } from '../wire/cluster.ts'
import { unknownTopic, withLeaders } from '../wire/partition-leader.ts'
import { configCommand, PLAN_HINT } from './topic-commands.ts'
import type { TopicPlan } from './topic-plan.ts'

/** What production wants of every topic; less is said, not refused: one broker is enough to develop. */
const PRODUCTION_REPLICATION_FACTOR = 3
const PRODUCTION_MIN_INSYNC_REPLICAS = 2
/** How long a new topic may take until every partition has a leader, and how often that is looked at (ms). */
const VISIBLE_WITHIN_MS = 10_000
const LOOK_EVERY_MS = 50
/** How long Kafka may take to create or delete (ms). */
const ADMIN_TIMEOUT_MS = 10_000
const TOPIC_RESOURCE = 2

export interface WantedTopic extends TopicPlan {
  readonly partitions: number
}

export interface TopicWarning {
  readonly code:
    | 'replication_below_production'
    | 'min_insync_replicas_below_production'
    | 'topic_config_differs'
    | 'topic_partitions_differ'
  readonly message: string
  readonly topic?: string
}

export interface EnsureReport {
  readonly created: readonly string[]
  readonly existing: readonly string[]
  readonly warnings: readonly TopicWarning[]
}

export interface TopicAdmin {
  /**
   * Sees to it that the topics exist, as the `mode` says: creates what is missing, or fails with `topics_missing`, or asks
   * nothing. What exists is never changed: where it differs, a warning says so. New topics can be written when it resolves.
   */
  ensureTopics(wanted: readonly WantedTopic[]): Promise<EnsureReport>
  /** Partition counts of the topics named; those with an error are told apart with its code. */
  describe(
    topics: readonly string[],
  ): Promise<{ known: Map<string, { partitions: number }>; failed: Map<string, string> }>
  /** Names of all topics that begin with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>
  /** All settings of each topic; topics that do not exist are left out. */
  configs(topics: readonly string[]): Promise<Map<string, Map<string, TopicConfigValue>>>
  /** Changes settings of a topic and leaves its others as they are. */
  alterConfigs(topic: string, changes: Readonly<Record<string, string>>): Promise<void>
  /**
   * Raises a topic's number of partitions; the new ones can be written when it resolves. A topic that has as many is fine.
   * Throws `invalid_partitions` where it has more, and `unknown_topic`.
   */
  growTopic(topic: string, partitions: number): Promise<void>
  /** Deletes a topic; one that does not exist is fine. */
  deleteTopic(topic: string): Promise<void>
}

export interface TopicConfigValue {
  readonly value: string | null
  /** Set on the topic itself; otherwise it follows the broker. */
  readonly own: boolean
}

interface ConfigAnswer {
  resources: {
    errorCode: number
    resourceName: string
    configEntries: {
      configName: string
      configValue: string | null
      configSource: number
      isDefault: boolean
    }[]
  }[]
}

/** Kafka's mark of a setting made on the topic. */
const TOPIC_CONFIG_SOURCE = 1

export function createTopicAdmin(
  cluster: Cluster,
  settings: TopicSettings,
  logger: BrokerLogger,
): TopicAdmin {
  return new Admin(cluster, settings, logger)
}

interface TopicErrors {
  topicErrors: { topic: string; errorCode: number; errorMessage?: string | null }[]
}

class Admin implements TopicAdmin {
  readonly #cluster: Cluster
  readonly #logger: BrokerLogger
  readonly #settings: Required<TopicSettings>
  /** Codes that are about the cluster, not about one topic: each is logged once, not with every topic made. */
  readonly #said = new Set<string>()

  constructor(cluster: Cluster, settings: TopicSettings, logger: BrokerLogger) {
    this.#cluster = cluster
    this.#logger = logger
    this.#settings = { mode: 'create', replicationFactor: 1, ...settings }
  }

  async ensureTopics(wanted: readonly WantedTopic[]): Promise<EnsureReport> {
    const { mode } = this.#settings
    if (mode === 'off') return { created: [], existing: [], warnings: [] }
    const seen = await this.#views(wanted.map(({ name }) => name))
    for (const { name } of wanted) refuseUnseen(name, seen.get(name))
    const missing = wanted.filter(({ name }) => seen.get(name)?.status !== 'known')
    if (mode === 'verify' && missing.length > 0) {
      const names = missing.map(({ name }) => name).join(', ')
      throw new BrokerError(
        'topics_missing',
        `these Kafka topics are missing, and HEADRACE_KAFKA_TOPICS=verify forbids to make them here: ${names}; ${PLAN_HINT}`,
        { retryable: false },
      )
    }
    const created = await this.#create(missing)
    const existing = wanted.filter(({ name }) => !created.has(name))
    const settingsNow = await this.configs(existing.map(({ name }) => name))
    const warnings = [
      ...(await this.#belowProduction([...created])),
      ...existing.flatMap((topic) => differencesOf(topic, seen.get(topic.name), settingsNow.get(topic.name))),
    ]
    for (const warning of warnings) this.#say(warning)
    return { created: [...created], existing: existing.map(({ name }) => name), warnings }
  }

  #say({ code, message, topic }: TopicWarning): void {
    if (topic === undefined && this.#said.has(code)) return
    if (topic === undefined) this.#said.add(code)
    this.#logger.warn({ event: `kafka.${code}`, topic }, message)
  }

  async describe(
    topics: readonly string[],
  ): Promise<{ known: Map<string, { partitions: number }>; failed: Map<string, string> }> {
    const known = new Map<string, { partitions: number }>()
    const failed = new Map<string, string>()
    for (const [topic, view] of await this.#views(topics)) {
      if (view.status === 'known') known.set(topic, { partitions: view.leaders.length })
      else failed.set(topic, view.code === 'unknown_topic_or_partition' ? 'unknown_topic' : view.code)
    }
    return { known, failed }
  }

  async list(prefix: string): Promise<string[]> {
    const { topics } = await withLeaders(async () => await this.#cluster.metadata('all'))
    return [...topics.keys()].filter((topic) => topic.startsWith(prefix)).sort()
  }

  async configs(topics: readonly string[]): Promise<Map<string, Map<string, TopicConfigValue>>> {
    const found = new Map<string, Map<string, TopicConfigValue>>()
    if (topics.length === 0) return found
    const link = await this.#cluster.anyLink()
    const answer = await link.request<ConfigAnswer>(
      'DescribeConfigs',
      { resources: topics.map((name) => ({ type: TOPIC_RESOURCE, name })), includeSynonyms: false },
      { raw: true },
    )
    for (const { errorCode, resourceName, configEntries } of answer.resources) {
      if (errorCode === KAFKA.unknownTopicOrPartition) continue
      if (errorCode !== KAFKA.none)
        throw kafkaError(
          errorCode,
          `settings of topic ${resourceName}`,
          topicAcl('DescribeConfigs', resourceName),
        )
      const values = configEntries.map(
        ({ configName, configValue, configSource }): [string, TopicConfigValue] => [
          configName,
          { value: configValue, own: configSource === TOPIC_CONFIG_SOURCE },
        ],
      )
      found.set(resourceName, new Map(values))
    }
    return found
  }

  async alterConfigs(topic: string, changes: Readonly<Record<string, string>>): Promise<void> {
    // Kafka's AlterConfigs replaces everything that was set on the topic: what is not named again falls back to the
    // broker's default. So: read, change, write. (A change by somebody else in between is lost; IncrementalAlterConfigs,
    // which would not lose it, is not implemented by kafkajs.)
    const now = (await this.configs([topic])).get(topic)
    if (now === undefined) throw unknownTopic(topic)
    const own = [...now].flatMap(([name, { value, own: isOwn }]) =>
      isOwn && value !== null ? [[name, value]] : [],
    )
    const configEntries = entries({ ...Object.fromEntries(own), ...changes })
    const link = await this.#cluster.anyLink()
    const answer = await link.request<ConfigAnswer>(
      'AlterConfigs',
      { resources: [{ type: TOPIC_RESOURCE, name: topic, configEntries }], validateOnly: false },
      { raw: true },
    )
    const errorCode = answer.resources[0]?.errorCode ?? KAFKA.none
    if (errorCode !== KAFKA.none)
      throw kafkaError(errorCode, `changing topic ${topic}`, topicAcl('AlterConfigs', topic))
    await this.#seen(topic, changes)
  }

  /**
   * Waits until the brokers tell what the controller has committed, which they learn a moment later: whoever reads now
   * would not see the change, and a second change from that reading would undo this one.
   */
  async #seen(topic: string, changes: Readonly<Record<string, string>>): Promise<void> {
    for (const deadline = performance.now() + VISIBLE_WITHIN_MS; ; await sleep(LOOK_EVERY_MS)) {
      const now = (await this.configs([topic])).get(topic)
      if (Object.entries(changes).every(([name, value]) => now?.get(name)?.value === value)) return
      if (performance.now() > deadline) return
    }
  }

  async growTopic(topic: string, partitions: number): Promise<void> {
    const view = (await this.#views([topic])).get(topic)
    if (view?.status === 'known' && view.leaders.length === partitions) return
    const answer = await this.#askController('CreatePartitions', {
      topicPartitions: [{ topic, count: partitions }],
      timeout: ADMIN_TIMEOUT_MS,
      validateOnly: false,
    })
    const errorCode = answer.topicErrors[0]?.errorCode ?? KAFKA.none
    // Also of a request whose first answer was lost: what it asked for is there then.
    if (errorCode !== KAFKA.none) {
      const now = (await this.#views([topic])).get(topic)
      if (now?.status !== 'known') throw unknownTopic(topic)
      if (now.leaders.length !== partitions)
        throw kafkaError(errorCode, `adding partitions to ${topic}`, topicAcl('Alter', topic))
    }
    await this.#untilVisible([topic], partitions)
  }

  async deleteTopic(topic: string): Promise<void> {
    const answer = await this.#askController('DeleteTopics', { topics: [topic], timeout: ADMIN_TIMEOUT_MS })
    const errorCode = answer.topicErrors[0]?.errorCode ?? KAFKA.none
    if (errorCode !== KAFKA.none && errorCode !== KAFKA.unknownTopicOrPartition) {
      throw kafkaError(errorCode, `deleting topic ${topic}`, topicAcl('Delete', topic))
    }
  }

  async #views(topics: readonly string[]): Promise<ReadonlyMap<string, TopicView>> {
    if (topics.length === 0) return new Map()
    return await withLeaders(async () => (await this.#cluster.metadata(topics)).topics)
  }

  /** A lost answer is asked again: creating what is there and deleting what is gone are both fine. */
  async #askController(
    api: 'CreateTopics' | 'DeleteTopics' | 'CreatePartitions',
    request: object,
  ): Promise<TopicErrors> {
    return await withLeaders(async () => {
      const { controller } = await this.#cluster.metadata([])
      const link = this.#cluster.linkTo(controller)
      return await link.request<TopicErrors>(api, request, { raw: true, timeoutMs: ADMIN_TIMEOUT_MS })
    })
  }

  async #create(wanted: readonly WantedTopic[]): Promise<Set<string>> {
    const created = new Set<string>()
    if (wanted.length === 0) return created
    const { replicationFactor } = this.#settings
    const answer = await this.#askController('CreateTopics', {
      timeout: ADMIN_TIMEOUT_MS,
      validateOnly: false,
      topics: wanted.map(({ name, partitions, config }) => ({
        topic: name,
        numPartitions: partitions,
        replicationFactor,
        configEntries: entries({ ...config, ...minInsyncReplicas(replicationFactor) }),
      })),
    })
    for (const { topic, errorCode, errorMessage } of answer.topicErrors) {
      if (errorCode === KAFKA.none) created.add(topic)
      else if (errorCode !== KAFKA.topicAlreadyExists) {
        const error = kafkaError(errorCode, `creating topic ${topic}`, topicAcl('Create', topic))
        throw errorMessage ? new BrokerError(error.code, `${error.message} (${errorMessage})`, error) : error
      }
    }
    await this.#untilVisible(wanted.map(({ name }) => name))
    return created
  }

  /** What was made is looked at as it is: with a factor of -1 the brokers have decided. All are made alike. */
  async #belowProduction([topic]: readonly string[]): Promise<TopicWarning[]> {
    if (topic === undefined) return []
    const view = (await this.#views([topic])).get(topic)
    const config = (await this.configs([topic])).get(topic)
    const replicas = view?.status === 'known' ? view.replicas : null
    const insync = config?.get('min.insync.replicas')?.value ?? null
    const warnings: TopicWarning[] = []
    if (replicas !== null && replicas < PRODUCTION_REPLICATION_FACTOR) {
      const message = `topics are made with replication factor ${replicas}; production wants ${PRODUCTION_REPLICATION_FACTOR}`
      warnings.push({ code: 'replication_below_production', message })
    }
    if (insync !== null && Number(insync) < PRODUCTION_MIN_INSYNC_REPLICAS) {
      const message = `topics are made with min.insync.replicas ${insync}; production wants ${PRODUCTION_MIN_INSYNC_REPLICAS}`
      warnings.push({ code: 'min_insync_replicas_below_production', message })
    }
    return warnings
  }

  /** A record sent right after the creation must find a leader: on Kafka 4 that takes some 10 to 100 ms. */
  async #untilVisible(topics: readonly string[], partitions = 1): Promise<void> {
    for (const deadline = performance.now() + VISIBLE_WITHIN_MS; ; await sleep(LOOK_EVERY_MS)) {
      const seen = await this.#views(topics)
      const ready = topics.every((topic) => {
        const view = seen.get(topic)
        return view?.status === 'known' && view.leaders.length >= partitions && !view.leaders.includes(null)
      })
      if (ready) return
      if (performance.now() > deadline) {
        throw new BrokerError(
          'leader_not_available',
          `new partitions have no leaders yet: ${topics.join(', ')}`,
          {
            retryable: true,
          },
        )
      }
    }
  }
}

/** A topic that we may not see may be there or not. */
function refuseUnseen(topic: string, view: TopicView | undefined): void {
  if (view?.status !== 'failed' || view.code !== 'topic_authorization_failed') return
  const why = codeMessage(view.code, topicAcl('Describe', topic))
  throw new BrokerError(view.code, `looking for topic ${topic}: ${why}`, { retryable: false })
}

function entries(config: Readonly<Record<string, string>>): { name: string; value: string }[] {
  return Object.entries(config).map(([name, value]) => ({ name, value }))
}

/** Set on the topic only with the factor: an explicit 1 would undo a 2 that the brokers have for all topics. */
export function minInsyncReplicas(replicationFactor: number): Record<string, string> {
  if (replicationFactor < 1) return {}
  const least = replicationFactor >= PRODUCTION_REPLICATION_FACTOR ? PRODUCTION_MIN_INSYNC_REPLICAS : 1
  return { 'min.insync.replicas': String(least) }
}

function differencesOf(
  wanted: WantedTopic,
  view: TopicView | undefined,
  now: ReadonlyMap<string, TopicConfigValue> | undefined,
): TopicWarning[] {
  const topic = wanted.name
  const warnings: TopicWarning[] = []
  if (view?.status === 'known' && view.leaders.length !== wanted.partitions) {
    const message = `topic ${topic} has ${view.leaders.length} partitions, the settings say ${wanted.partitions}`
    warnings.push({ code: 'topic_partitions_differ', topic, message })
  }
  for (const [name, value] of Object.entries(wanted.config)) {
    const actual = now?.get(name)?.value
    if (actual === undefined || sameSetting(actual, value)) continue
    const message = `topic ${topic} has ${name}=${actual}, Headrace wants ${value}: ${configCommand(topic, name, value)}`
    warnings.push({ code: 'topic_config_differs', topic, message })
  }
  return warnings
}

/** Lists such as `compact,delete` have no order. */
export function sameSetting(a: string | null, b: string): boolean {
  return a !== null && a.split(',').sort().join() === b.split(',').sort().join()
}
