import { eventsTopic } from '@headrace/broker'

/** The Kafka topic that holds a stream's events. */
export const streamTopic = (prefix: string, stream: string): string => eventsTopic(prefix, stream).name
