import {
  type Broker,
  type CoalescingProducer,
  configTopic,
  ensureConfigTopic,
  eventsTopic,
  writeSettings,
} from '@headrace/broker'
import { checkpoint, crashPoint, type Frames, needsSchemas } from '@headrace/core'
import {
  bindingFaults,
  type BindingRule,
  type FieldFault,
  limits,
  type ProblemCode,
  ProblemError,
  type StreamBinding,
} from '@headrace/schemas'
import { codeOf, type Logger } from '@headrace/service'
import { bindStream, type Store, unbindStream } from '@headrace/store'
import { settingOf } from './setting-source.ts'
import type { KnownBindings } from './known-bindings.ts'
import { offsetsFrom, startOffsets } from './start-offsets.ts'

export interface BindingsOptions {
  broker: Pick<Broker, 'topics' | 'offsets' | 'stableEnds' | 'offsetsForTime'>
  producer: Pick<CoalescingProducer, 'produce'>
  store: Store
  prefix: string
  /** Null: no schema registry is configured. */
  frames: Frames | null
  known: KnownBindings
  /** The topic is compared with Postgres soon. */
  repair: () => void
  log: Logger
}

/** Binds streams to Kafka topics that others write, and takes that back. The Kafka topics themselves are never changed. */
export interface Bindings {
  /** Throws the problem of whatever does not fit; then nothing was done. */
  bind(stream: string, rule: BindingRule): Promise<{ binding: StreamBinding; isNew: boolean }>
  /** The revision of that. Throws `stream_not_found` where the stream is not bound. */
  unbind(stream: string): Promise<number>
}

export function createBindings(options: BindingsOptions): Bindings {
  const { broker, store, known, log } = options
  return {
    async bind(stream, rule) {
      await refuseUnfit(options, stream, rule)
      await ensureConfig(options)
      const bound = await bindStream(store, {
        stream,
        rule,
        bindingsMax: limits.streamsMax,
        starts: async () => await startOffsets(broker, rule),
        projectedFrom: async (fromMs) => await offsetsFrom(broker, rule.kafka_topic, fromMs),
      })
      if (bound.kind !== 'bound') throw refusal(stream, rule, bound)
      const { binding, isNew } = bound
      await tell(options, binding)
      await known.refresh()
      log.info(
        { event: 'stream.bound', stream, kafka_topic: rule.kafka_topic, revision: binding.revision },
        'an external stream was bound',
      )
      return { binding, isNew }
    },

    async unbind(stream) {
      const revision = await unbindStream(store, stream)
      if (revision === null)
        throw new ProblemError('stream_not_found', `The stream ${stream} is bound to no Kafka topic`)
      await tell(options, { stream, revision, rule: null })
      await known.refresh()
      log.info({ event: 'stream.unbound', stream, revision }, 'an external stream is bound no more')
      return revision
    },
  }
}

async function refuseUnfit(
  { broker, prefix, frames }: BindingsOptions,
  stream: string,
  rule: BindingRule,
): Promise<void> {
  const faults = bindingFaults(stream, rule)
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
  if (frames === null && needsSchemas(rule)) throw withoutRegistry(rule)
  const { kafka_topic: topic } = rule
  if (topic.startsWith(`${prefix}.`))
    throw topicProblem('invalid_field', `is a topic of Headrace's own: all that begin with ${prefix}. are`)
  const own = eventsTopic(prefix, stream).name
  const { known, failed } = await broker.topics.describe([topic, own])
  if (failed.get(topic) === 'unknown_topic')
    throw topicProblem(
      'kafka_topic_not_found',
      `there is no Kafka topic ${topic}, or it may not be seen from here`,
    )
  if (!known.has(own)) return
  const detail = `the stream ${stream} has a Kafka topic of its own, ${own}: delete it first, with its events (DELETE /v1/streams/${stream}?confirm=${stream})`
  throw new ProblemError('stream_exists', detail)
}

function withoutRegistry({ value_format: value, key_format: key }: BindingRule): ProblemError {
  const pointer = key === 'avro' ? '/key_format' : '/value_format'
  const detail = `${key === 'avro' ? key : value} needs a schema registry, and HEADRACE_SCHEMA_REGISTRY_URL is not set`
  return ProblemError.fromFaults([{ pointer, code: 'invalid_field', detail }])
}

/** Before anything is committed: without it gateways would never hear of the binding. */
async function ensureConfig({ broker, prefix }: BindingsOptions): Promise<void> {
  const { name } = configTopic(prefix)
  await ensureConfigTopic(broker, prefix)
  const { failed } = await broker.topics.describe([name])
  if (failed.get(name) !== 'unknown_topic') return
  const detail = `the Kafka topic ${name} is missing, from which gateways learn of bindings, and HEADRACE_KAFKA_TOPICS forbids to make it: make it with one partition and cleanup.policy=compact`
  throw new ProblemError('kafka_topic_not_found', detail)
}

type Refused = Exclude<Awaited<ReturnType<typeof bindStream>>, { kind: 'bound' }>

function refusal(stream: string, { kafka_topic: topic }: BindingRule, refused: Refused): ProblemError {
  if (refused.kind === 'too_many')
    return new ProblemError('too_many_streams', `at most ${limits.streamsMax} streams can be bound`)
  const detail =
    refused.kind === 'topic_taken'
      ? `${topic} is bound to the stream ${refused.stream} already`
      : `the stream ${stream} is bound to ${refused.kafkaTopic}; unbind it first: DELETE /v1/streams/${stream}?confirm=${stream}`
  return topicProblem('kafka_topic_taken', detail)
}

function topicProblem(code: ProblemCode, detail: string): ProblemError {
  const fault: FieldFault = { pointer: '/kafka_topic', code, detail }
  return ProblemError.fromFaults([fault])
}

/** Committed is bound: where the record cannot be written now, the repair writes it later. */
async function tell(
  { producer, prefix, repair, log }: BindingsOptions,
  binding: Omit<StreamBinding, 'rule'> & { rule: BindingRule | null },
): Promise<void> {
  crashPoint('config.after-commit')
  const held = checkpoint('config.after-commit')
  if (held) await held
  const { stream, rule, revision } = binding
  const setting =
    rule === null
      ? { kind: 'stream', name: stream, revision, value: null }
      : settingOf({ stream, rule, revision })
  try {
    await writeSettings(producer, prefix, [setting])
  } catch (error) {
    log.warn(
      { event: 'config.not_told', code: codeOf(error), stream, err: error },
      'a binding is not on the config topic yet; gateways hear of it later',
    )
    repair()
  }
}
