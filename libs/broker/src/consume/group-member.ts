import {
  BrokerError,
  codeOf,
  groupAcl,
  KAFKA,
  kafkaError,
  kafkaFault,
  LinkError,
  type NeededAcl,
  topicAcl,
} from '../broker-error.ts'
import type { Cluster } from '../wire/cluster.ts'
import type { Link } from '../wire/link.ts'
import { assign } from './assigner.ts'
import {
  decodeAssignment,
  decodeMember,
  encodeAssignments,
  encodeMembership,
  type Membership,
  PROTOCOL_NAME,
} from './membership.ts'

/** How long the others may take to join again (ms): more than any of them waits between heartbeats. */
const REBALANCE_TIMEOUT_MS = 15_000
const NETWORK_MS = 5_000
/** How long leaving may take (ms): who cannot say it is found out by its silence. */
const LEAVE_TIMEOUT_MS = 2_000

export interface Generation {
  readonly generation: number
  readonly isLeader: boolean
  readonly assignment: Readonly<Record<string, readonly number[]>>
  /** Partition counts that were dealt out, of all topics of the group. */
  readonly counts: Readonly<Record<string, number>>
}

/** What became of a heartbeat. `lost`: the group counts us as gone, our partitions may be somebody else's already. */
export type HeartbeatAnswer = 'fine' | 'rejoin' | 'lost' | 'coordinator_moved'

interface JoinAnswer {
  errorCode: number
  generationId: number
  leaderId: string
  memberId: string
  members: { memberId: string; memberMetadata: Buffer }[]
}

/** `topic/partition` → offset to commit, as topic and partition apart. */
export interface OffsetToCommit {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/**
 * This process's membership of one consumer group: the requests, and what must be remembered between them.
 *
 * Why not kafkajs's consumer. Its runner ties heartbeats to batches (a slow one ends the session), forgets positions at
 * every join and fetches from the group offset before anybody could say where to start, jumps silently when an offset is
 * out of range, lets one topic's error stop all, and dies for good on a TypeError. The protocol itself is small.
 */
export class GroupMember {
  readonly #cluster: Cluster
  readonly #groupId: string
  readonly #sessionTimeoutMs: number
  #memberId = ''
  #generation = 0
  #coordinator: number | null = null

  constructor(cluster: Cluster, options: { groupId: string; sessionTimeoutMs: number }) {
    this.#cluster = cluster
    this.#groupId = options.groupId
    this.#sessionTimeoutMs = options.sessionTimeoutMs
  }

  get generation(): number {
    return this.#generation
  }

  /** Joins, deals out the partitions if elected, and learns its own. Throws what kept it from it; the caller tries again. */
  async join(membership: Omit<Membership, 'generation'>): Promise<Generation> {
    const link = await this.#link()
    const metadata = encodeMembership({ ...membership, generation: this.#generation })
    let answer = await this.#askToJoin(link, metadata)
    if (answer.errorCode === KAFKA.memberIdRequired) {
      this.#memberId = answer.memberId
      answer = await this.#askToJoin(link, metadata)
    }
    this.#check(answer.errorCode, 'joining')
    this.#memberId = answer.memberId
    const isLeader = answer.leaderId === answer.memberId
    const groupAssignment = isLeader ? await this.#deal(answer.members) : []
    const { errorCode, memberAssignment } = await link.request<{
      errorCode: number
      memberAssignment: Buffer
    }>(
      'SyncGroup',
      {
        groupId: this.#groupId,
        generationId: answer.generationId,
        memberId: this.#memberId,
        groupAssignment,
      },
      { raw: true, timeoutMs: REBALANCE_TIMEOUT_MS },
    )
    this.#check(errorCode, 'taking partitions')
    this.#generation = answer.generationId
    return { generation: answer.generationId, isLeader, ...decodeAssignment(memberAssignment) }
  }

  /** Tells the coordinator that we live. Throws only when it could not be told. */
  async heartbeat(): Promise<HeartbeatAnswer> {
    const link = await this.#link()
    const { errorCode } = await link.request<{ errorCode: number }>(
      'Heartbeat',
      { groupId: this.#groupId, groupGenerationId: this.#generation, memberId: this.#memberId },
      { raw: true },
    )
    if (errorCode === KAFKA.none) return 'fine'
    if (errorCode === KAFKA.rebalanceInProgress) return 'rejoin'
    if (this.#moved(errorCode)) return 'coordinator_moved'
    try {
      this.#check(errorCode, 'heartbeat')
    } catch (error) {
      if (codeOf(error) !== 'unknown_member_id' && codeOf(error) !== 'illegal_generation') throw error
    }
    return 'lost'
  }

  /** The group's offsets of these partitions; those without one are left out. */
  async committed(partitions: readonly { topic: string; partition: number }[]): Promise<OffsetToCommit[]> {
    const link = await this.#link()
    const answer = await link.request<{
      errorCode?: number
      responses: { topic: string; partitions: { partition: number; offset: string; errorCode: number }[] }[]
    }>(
      'OffsetFetch',
      { groupId: this.#groupId, topics: byTopic(partitions, ({ partition }) => ({ partition })) },
      { raw: true },
    )
    this.#check(answer.errorCode ?? KAFKA.none, 'reading group offsets')
    return answer.responses.flatMap(({ topic, partitions: found }) =>
      found.flatMap(({ partition, offset, errorCode }) => {
        this.#check(errorCode, `reading the group offset of ${topic}/${partition}`, topic)
        return Number(offset) >= 0 ? [{ topic, partition, offset: Number(offset) }] : []
      }),
    )
  }

  /** Writes group offsets under the current generation. Throws where a rebalance or an outage kept it from it. */
  async commit(offsets: readonly OffsetToCommit[]): Promise<void> {
    const link = await this.#link()
    const answer = await link.request<{
      responses: { topic: string; partitions: { partition: number; errorCode: number }[] }[]
    }>(
      'OffsetCommit',
      {
        groupId: this.#groupId,
        groupGenerationId: this.#generation,
        memberId: this.#memberId,
        topics: byTopic(offsets, ({ partition, offset }) => ({
          partition,
          offset: String(offset),
          metadata: null,
        })),
      },
      { raw: true },
    )
    for (const { topic, partitions } of answer.responses) {
      for (const { partition, errorCode } of partitions) {
        if (errorCode === KAFKA.none) continue
        this.#moved(errorCode)
        throw kafkaError(errorCode, `committing ${topic}/${partition}`, this.#needed(errorCode, topic))
      }
    }
  }

  /** Leaves, so that the others need not wait for the session to end. Never throws. */
  async leave(): Promise<void> {
    const memberId = this.#memberId
    const coordinator = this.#coordinator
    this.forget()
    if (memberId === '' || coordinator === null) return
    const request = this.#cluster
      .linkTo(coordinator)
      .request('LeaveGroup', { groupId: this.#groupId, memberId }, { raw: true, timeoutMs: LEAVE_TIMEOUT_MS })
    const timeout = Promise.withResolvers<void>()
    const timer = setTimeout(timeout.resolve, LEAVE_TIMEOUT_MS)
    await Promise.race([request, timeout.promise]).catch(() => undefined)
    clearTimeout(timer)
  }

  /** Begins anew as a newcomer with the next join. */
  forget(): void {
    this.#memberId = ''
    this.#generation = 0
  }

  /** The coordinator is looked for again with the next request, on a new connection. */
  dropCoordinator(): void {
    if (this.#coordinator !== null) this.#cluster.dropLink(this.#coordinator)
    this.#coordinator = null
  }

  async #link(): Promise<Link> {
    this.#coordinator ??= await this.#cluster.coordinatorOf(this.#groupId)
    return this.#cluster.linkTo(this.#coordinator)
  }

  async #askToJoin(link: Link, metadata: Buffer): Promise<JoinAnswer> {
    return await link.request<JoinAnswer>(
      'JoinGroup',
      {
        groupId: this.#groupId,
        sessionTimeout: this.#sessionTimeoutMs,
        rebalanceTimeout: REBALANCE_TIMEOUT_MS,
        memberId: this.#memberId,
        protocolType: 'consumer',
        groupProtocols: [{ name: PROTOCOL_NAME, metadata }],
      },
      { raw: true, timeoutMs: REBALANCE_TIMEOUT_MS + NETWORK_MS },
    )
  }

  /** The leader's part: counts of all topics of the group, also of those it does not read itself. */
  async #deal(joined: JoinAnswer['members']): Promise<{ memberId: string; memberAssignment: Buffer }[]> {
    const members = joined.map(({ memberId, memberMetadata }) => decodeMember(memberId, memberMetadata))
    const topics = [...new Set(members.flatMap((member) => member.topics))]
    const counts = new Map<string, number>()
    const { topics: views } = await this.#cluster.metadata(topics)
    for (const topic of topics) {
      const view = views.get(topic)
      // A member may have seen a topic grow that this broker's metadata does not show yet: the larger count is the newer.
      const seen = Math.max(0, ...members.map((member) => member.counts[topic] ?? 0))
      if (view?.status === 'known') counts.set(topic, Math.max(seen, view.leaders.length))
    }
    return encodeAssignments(assign(members, counts), counts)
  }

  #moved(errorCode: number): boolean {
    const moved =
      errorCode === KAFKA.notCoordinator ||
      errorCode === KAFKA.coordinatorNotAvailable ||
      errorCode === KAFKA.coordinatorLoading
    if (moved) this.#coordinator = null
    return moved
  }

  /** Requests of a group need rights on the group, and some on their topics. */
  #needed(errorCode: number, topic: string): NeededAcl {
    return errorCode === KAFKA.topicAuthorizationFailed ? topicAcl('Read', topic) : groupAcl(this.#groupId)
  }

  #check(errorCode: number, about: string, topic = ''): void {
    if (errorCode === KAFKA.none) return
    this.#moved(errorCode)
    if (errorCode === KAFKA.unknownMember || kafkaFault(errorCode).code === 'fenced_instance_id')
      this.forget()
    throw kafkaError(errorCode, `group ${this.#groupId}, ${about}`, this.#needed(errorCode, topic))
  }
}

/** Whether an error means only that the group or its coordinator is changing. */
export function isGroupInMotion(error: unknown): boolean {
  if (error instanceof LinkError) return false
  const inMotion = [
    KAFKA.rebalanceInProgress,
    KAFKA.unknownMember,
    KAFKA.illegalGeneration,
    KAFKA.notCoordinator,
    KAFKA.coordinatorLoading,
    KAFKA.coordinatorNotAvailable,
  ].map((code) => kafkaFault(code).code)
  return error instanceof BrokerError && inMotion.includes(error.code)
}

function byTopic<T extends { topic: string }>(items: readonly T[], shape: (item: T) => object): object[] {
  const topics = new Map<string, object[]>()
  for (const item of items) topics.set(item.topic, [...(topics.get(item.topic) ?? []), shape(item)])
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }))
}
