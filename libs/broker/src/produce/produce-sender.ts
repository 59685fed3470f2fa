import { KAFKA, LinkError, anyTopicAcl, codeOf, kafkaError, messageOf } from '../broker-error.ts'
import type { OutgoingRecord } from '../records.ts'
import type { Cluster, TopicView } from '../wire/cluster.ts'
import { encodeProduce, type ProduceBody } from '../wire/encode-produce.ts'

/** A producer id of Kafka's and the next sequence number of each partition under it. */
export interface ProducerIdentity {
  readonly producerId: string
  readonly epoch: number
  /** `topic/partition` → sequence number of the next record. */
  readonly sequences: Map<string, number>
}

export interface PartitionBatch {
  readonly topic: string
  readonly partition: number
  readonly firstSequence: number
  readonly records: readonly OutgoingRecord[]
}

export interface PartitionAnswer {
  readonly topic: string
  readonly partition: number
  readonly errorCode: number
  readonly baseOffset: number
  /** -1 on topics with CreateTime. */
  readonly logAppendTime: number
}

export type SendReport =
  /** Each partition the broker told of; those asked for and not told of are of unknown fate. */
  | { readonly status: 'answered'; readonly partitions: readonly PartitionAnswer[] }
  /** Not one byte was sent. */
  | { readonly status: 'not_sent'; readonly code: string; readonly message: string }
  /** Sent, and no answer. */
  | { readonly status: 'lost'; readonly code: string; readonly message: string }

/** The producer's way to Kafka; a small interface, so that its rules are tested without one. */
export interface ProduceSender {
  leaders(topics: readonly string[]): Promise<ReadonlyMap<string, TopicView>>
  /** A fresh identity. */
  identity(): Promise<ProducerIdentity>
  /** One produce request to one broker. Never rejects. */
  send(leader: number, identity: ProducerIdentity, batches: readonly PartitionBatch[]): Promise<SendReport>
  /** Ends the connection to a broker: a send under way on it reports `lost`. */
  drop(leader: number): void
  close(): void
}

interface ProduceAnswer {
  topics: {
    topicName: string
    partitions: { partition: number; errorCode: number; baseOffset: string; logAppendTime: string }[]
  }[]
}

/** How long the leader waits for its replicas (ms): less than the request timeout, so that the answer is its own. */
const REPLICATION_TIMEOUT_MS = 4_000
/** What kafkajs's own encoder would be given; of its request we take the frame, and of that `acks` says that there is an answer. */
const noBody = { acks: -1, topicData: [] }

export function createProduceSender(cluster: Cluster): ProduceSender {
  return {
    leaders: async (topics) => (await cluster.metadata(topics)).topics,

    async identity() {
      const link = await cluster.anyLink()
      const answer = await link.request<{ errorCode: number; producerId: string; producerEpoch: number }>(
        'InitProducerId',
        { transactionalId: null },
        { raw: true },
      )
      if (answer.errorCode !== KAFKA.none)
        throw kafkaError(answer.errorCode, 'an idempotent producer', anyTopicAcl)
      return { producerId: answer.producerId, epoch: answer.producerEpoch, sequences: new Map() }
    },

    async send(leader, identity, batches) {
      try {
        // The answer is taken raw: kafkajs's parser throws the first partition's error for the whole response, though
        // the broker kept the other partitions' records.
        const body = {
          timeoutMs: REPLICATION_TIMEOUT_MS,
          producerId: identity.producerId,
          producerEpoch: identity.epoch,
          timestamp: Date.now(),
          topics: byTopic(batches),
        }
        const link = cluster.linkTo(leader)
        const answer = await link.request<ProduceAnswer>('Produce', noBody, {
          raw: true,
          encode: () => encodeProduce(body),
        })
        return { status: 'answered', partitions: answersOf(answer) }
      } catch (error) {
        const sent = !(error instanceof LinkError) || error.sent
        // What asked for no link at all (an unknown broker) has not sent either.
        const unsent = !sent || codeOf(error) === 'broker_unknown'
        return { status: unsent ? 'not_sent' : 'lost', code: codeOf(error), message: messageOf(error) }
      }
    },

    drop: (leader) => cluster.dropLink(leader),
    close: () => cluster.close(),
  }
}

function byTopic(batches: readonly PartitionBatch[]): ProduceBody['topics'] {
  const topics = new Map<string, PartitionBatch[]>()
  for (const batch of batches) {
    const partitions = topics.get(batch.topic)
    if (partitions === undefined) topics.set(batch.topic, [batch])
    else partitions.push(batch)
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }))
}

function answersOf(answer: ProduceAnswer): PartitionAnswer[] {
  return answer.topics.flatMap(({ topicName, partitions }) =>
    partitions.map(({ partition, errorCode, baseOffset, logAppendTime }) => ({
      topic: topicName,
      partition,
      errorCode,
      baseOffset: Number(baseOffset),
      logAppendTime: Number(logAppendTime),
    })),
  )
}
