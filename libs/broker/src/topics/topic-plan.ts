const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Largest batch a topic of ours takes: an event of 1,000,000 bytes with its headers, twice over. */
export const MESSAGE_BYTES_MAX = 2 * 1024 * 1024

/** A Kafka topic's name and the settings in which it differs from the cluster's defaults. */
export interface TopicPlan {
  readonly name: string
  readonly config: Readonly<Record<string, string>>
}

/** Where records of one stream lie: kept 7 days. */
export function eventsTopic(prefix: string, stream: string): TopicPlan {
  return plan(`${prefix}.events.${stream}`, {
    'cleanup.policy': 'delete',
    'retention.ms': String(7 * DAY_MS),
  })
}

/** Tasks of one queue: kept 7 days; a stale task dies at its claim. */
export function tasksTopic(prefix: string, queue: string): TopicPlan {
  return plan(`${prefix}.tasks.${queue}`, { 'cleanup.policy': 'delete', 'retention.ms': String(7 * DAY_MS) })
}

/**
 * Copies of events on waited streams: the latest of each topic for 30 days, all of them for 24 h (the look-back of waits).
 * Its partition count is fixed for life: waits look for their answer in the partition of their topic.
 */
export function responsesTopic(prefix: string): TopicPlan {
  return plan(`${prefix}.responses`, {
    'cleanup.policy': 'compact,delete',
    'retention.ms': String(30 * DAY_MS),
    'min.compaction.lag.ms': String(DAY_MS),
  })
}

/** What could not go on: kept 30 days. */
export function deadLettersTopic(prefix: string): TopicPlan {
  return plan(`${prefix}.dead-letters`, { 'cleanup.policy': 'delete', 'retention.ms': String(30 * DAY_MS) })
}

/** Settings that gateways must know without Postgres: the latest of each, for ever. */
export function configTopic(prefix: string): TopicPlan {
  return plan(`${prefix}.config`, { 'cleanup.policy': 'compact' })
}

/** The stream of an events topic of ours, or null for any other topic. */
export function streamOfTopic(prefix: string, topic: string): string | null {
  const start = `${prefix}.events.`
  return topic.startsWith(start) && topic.length > start.length ? topic.slice(start.length) : null
}

function plan(name: string, config: Record<string, string>): TopicPlan {
  // LogAppendTime: windows, look-backs and retention are measured by one clock, the broker's, not by each sender's.
  return {
    name,
    config: {
      ...config,
      'message.timestamp.type': 'LogAppendTime',
      'max.message.bytes': String(MESSAGE_BYTES_MAX),
    },
  }
}
