import { type Broker, eventsTopic, type StreamCatalog, tasksTopic } from '@headrace/broker'
import { limits, ProblemError, streamOf, type WorkflowDefinition } from '@headrace/schemas'
import { startOffsets } from '../streams/start-offsets.ts'

export interface RegistrationTopicsOptions {
  broker: Broker
  prefix: string
  streams: Pick<StreamCatalog, 'bindingOf'>
  streamPartitions: number
  taskPartitions: number
}

/** The streams that these workflows' triggers read, and those whose events cancel their runs; each once, in order. */
export const streamsOf = (workflows: readonly WorkflowDefinition[]): string[] => {
  const read = workflows.flatMap(({ triggers, cancel_on: cancelOn = [] }) => [
    ...triggers.map(({ pattern }) => streamOf(pattern)),
    ...cancelOn.map(({ event }) => streamOf(event)),
  ])
  return [...new Set(read)].sort()
}

/**
 * Sees to it that every stream the triggers read and every queue the workflows name has its topic: a stream is made
 * when a trigger names it, so that its cursors can start at its end before the first event. An external stream is not made.
 *
 * Throws `too_many_streams`, or Kafka's own refusal.
 */
export async function ensureRegistrationTopics(
  { broker, prefix, streams: catalog, streamPartitions, taskPartitions }: RegistrationTopicsOptions,
  { queue, workflows }: { queue: string; workflows: readonly WorkflowDefinition[] },
): Promise<void> {
  const streams = streamsOf(workflows).filter((stream) => catalog.bindingOf(stream) === null)
  const topics = streams.map((stream) => eventsTopic(prefix, stream))
  const { failed } = await broker.topics.describe(topics.map(({ name }) => name))
  const missing = topics.filter(({ name }) => failed.get(name) === 'unknown_topic')
  if (missing.length > 0) {
    const existing = await broker.topics.list(`${prefix}.events.`)
    if (existing.length + missing.length > limits.streamsMax) {
      throw new ProblemError(
        'too_many_streams',
        `There are ${existing.length} streams and these workflows name ${missing.length} more; at most ${limits.streamsMax}`,
      )
    }
  }
  const queues = [...new Set([queue, ...workflows.map((workflow) => workflow.queue)])]
  await broker.topics.ensureTopics([
    ...topics.map((topic) => ({ ...topic, partitions: streamPartitions })),
    ...queues.map((name) => ({ ...tasksTopic(prefix, name), partitions: taskPartitions })),
  ])
}

/** Where triggers begin on these streams: at the end of every partition as it is now, on an external one where its binding says. */
export async function streamEnds(
  broker: Broker,
  catalog: Pick<StreamCatalog, 'bindingOf' | 'topicOf'>,
  streams: readonly string[],
): Promise<Map<string, Map<number, number>>> {
  const ends = await Promise.all(
    streams.map(async (stream) => {
      const binding = catalog.bindingOf(stream)
      if (binding !== null) return [stream, await startOffsets(broker, binding.rule)] as const
      const offsets = await broker.offsets(catalog.topicOf(stream))
      return [stream, new Map([...offsets].map(([partition, { high }]) => [partition, high]))] as const
    }),
  )
  return new Map(ends)
}
