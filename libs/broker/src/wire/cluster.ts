import type { Address, LinkSettings } from '../broker-config.ts'
import { BrokerError, groupAcl, KAFKA, kafkaError, kafkaFault, LinkError } from '../broker-error.ts'
import { Link } from './link.ts'

/** What is known of one topic: the leader of each partition (index = partition; null = none now), or why it is not known. */
export type TopicView =
  | { readonly status: 'known'; readonly leaders: readonly (number | null)[]; readonly replicas: number }
  | { readonly status: 'failed'; readonly code: string; readonly retryable: boolean }

export interface ClusterMetadata {
  readonly brokers: readonly string[]
  readonly controller: number
  readonly topics: ReadonlyMap<string, TopicView>
}

interface MetadataAnswer {
  brokers: { nodeId: number; host: string; port: number }[]
  controllerId: number
  topicMetadata: {
    topicErrorCode: number
    topic: string
    partitionMetadata: {
      partitionErrorCode: number
      partitionId: number
      leader: number
      replicas: number[]
    }[]
  }[]
}

/** Asked for when only the brokers matter: kafkajs encodes "no topic" as "all topics", thousands of rows for nothing. */
const SOME_TOPIC = '__consumer_offsets'

/**
 * Links to the brokers of one cluster, for one user (a producer, a consumer, a reader): nobody waits behind somebody
 * else's long request, since Kafka answers the requests of one connection in order.
 *
 * Metadata is asked for here and not by kafkajs's `Cluster`, which throws a whole answer away when one topic in it has an
 * error: one deleted topic would stop publishing and reading of all others.
 */
export class Cluster {
  readonly #settings: LinkSettings
  readonly #nodes = new Map<number, Address>()
  readonly #links = new Map<number, Link>()
  #bootstrap: Link | null = null
  #finding: Promise<Link> | null = null
  #closed = false

  constructor(settings: LinkSettings) {
    this.#settings = settings
  }

  get settings(): LinkSettings {
    return this.#settings
  }

  /** Leaders of the topics named; `'all'` for every topic there is. Topics with an error are told apart, never thrown. */
  async metadata(topics: readonly string[] | 'all'): Promise<ClusterMetadata> {
    const link = await this.anyLink()
    const asked = topics === 'all' ? [] : topics.length === 0 ? [SOME_TOPIC] : [...topics]
    const answer = await link.request<MetadataAnswer>(
      'Metadata',
      { topics: asked, allowAutoTopicCreation: false },
      { raw: true },
    )
    for (const { nodeId, host, port } of answer.brokers) this.#learn(nodeId, { host, port })
    return {
      brokers: answer.brokers.map(({ host, port }) => `${host}:${port}`),
      controller: answer.controllerId,
      topics: new Map(answer.topicMetadata.map((topic) => [topic.topic, viewOf(topic)])),
    }
  }

  /** An open link to any broker. Tries those known, then the addresses of the config; rejects when none opens. */
  anyLink(): Promise<Link> {
    for (const link of [...this.#links.values(), this.#bootstrap]) {
      if (link?.opened === true) return Promise.resolve(link)
    }
    this.#finding ??= this.#find().finally(() => {
      this.#finding = null
    })
    return this.#finding
  }

  /** The link to a broker by its id, opened on first use. Throws for an id that no metadata has named. */
  linkTo(nodeId: number): Link {
    if (this.#closed) throw new LinkError('broker_closed', 'this Kafka client was closed', { sent: false })
    const existing = this.#links.get(nodeId)
    if (existing?.usable === true) return existing
    existing?.close()
    const address = this.#nodes.get(nodeId)
    if (address === undefined) {
      throw new BrokerError('broker_unknown', `broker ${nodeId} is not in the metadata`, { retryable: true })
    }
    const link = new Link(address, this.#settings)
    this.#links.set(nodeId, link)
    return link
  }

  /** Closes the link to a broker: what is under way on it rejects, the next use opens another. */
  dropLink(nodeId: number): void {
    this.#links.get(nodeId)?.close()
    this.#links.delete(nodeId)
  }

  /** The link to the broker that coordinates a group. */
  async coordinatorOf(groupId: string): Promise<number> {
    const link = await this.anyLink()
    const { errorCode, coordinator } = await link.request<{
      errorCode: number
      coordinator: { nodeId: number } & Address
    }>('GroupCoordinator', { groupId }, { raw: true })
    if (errorCode !== KAFKA.none)
      throw kafkaError(errorCode, `coordinator of group ${groupId}`, groupAcl(groupId))
    this.#learn(coordinator.nodeId, { host: coordinator.host, port: coordinator.port })
    return coordinator.nodeId
  }

  /** Ends all connections at once, what is under way on them rejects; the next use opens others. */
  dropAll(): void {
    for (const link of this.#links.values()) link.close()
    this.#links.clear()
    this.#bootstrap?.close()
    this.#bootstrap = null
  }

  /** Ends all connections for good. */
  close(): void {
    this.#closed = true
    this.dropAll()
  }

  #learn(nodeId: number, address: Address): void {
    const known = this.#nodes.get(nodeId)
    if (known !== undefined && known.host === address.host && known.port === address.port) return
    this.#nodes.set(nodeId, address)
    this.dropLink(nodeId)
  }

  async #find(): Promise<Link> {
    let last: unknown
    for (const nodeId of shuffled([...this.#nodes.keys()])) {
      try {
        const link = this.linkTo(nodeId)
        await link.open()
        return link
      } catch (error) {
        last = error
      }
    }
    for (const address of shuffled(this.#settings.bootstrap)) {
      if (this.#closed) break
      const link = new Link(address, this.#settings)
      try {
        await link.open()
        this.#bootstrap?.close()
        this.#bootstrap = link
        if (this.#closed) link.close()
        return link
      } catch (error) {
        last = error
      }
    }
    throw last instanceof Error
      ? last
      : new LinkError('broker_closed', 'this Kafka client was closed', { sent: false })
  }
}

function viewOf(topic: MetadataAnswer['topicMetadata'][number]): TopicView {
  const { topicErrorCode: error, partitionMetadata: partitions } = topic
  if (error !== KAFKA.none && error !== KAFKA.leaderNotAvailable) {
    const fault = kafkaFault(error)
    return { status: 'failed', code: fault.code, retryable: fault.retryable }
  }
  const leaders: (number | null)[] = Array.from({ length: partitions.length }, () => null)
  for (const { partitionId, leader } of partitions) leaders[partitionId] = leader >= 0 ? leader : null
  return { status: 'known', leaders, replicas: partitions[0]?.replicas.length ?? 0 }
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item)
}
