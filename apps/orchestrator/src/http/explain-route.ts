import { noQuery, parseQuery, requireReadable, requireStream } from '@headrace/http'
import { ProblemError, topicFault, type WireExplanation } from '@headrace/schemas'
import type { FastifyInstance } from 'fastify'
import type { ApiContext } from '../context.ts'
import { kafkaLate } from '../dead-letters/dead-letter-desk.ts'
import { explainEvent } from '../explain/explain-event.ts'
import { answerWithin } from './answer-within.ts'

type ByPosition = { Params: { stream: string; partition: string; sequence_id: string } }

const EXPLAIN_MS_MAX = 8_000
/** Each may read the topic of dead letters for as long as two seconds. */
const EXPLANATIONS_MAX = 8
const wholeNumber = /^(0|[1-9][0-9]{0,14})$/

/** `GET /v1/events/{stream}/{partition}/{sequence_id}/explain`. */
export function explainRoute(app: FastifyInstance, context: ApiContext): void {
  const { broker, store, prefix, clock, known } = context
  let underWay = 0
  app.route<ByPosition>({
    method: 'GET',
    url: '/v1/events/:stream/:partition/:sequence_id/explain',
    config: { scope: 'events:read' },
    handler: async (request): Promise<WireExplanation> => {
      parseQuery(noQuery, request.query)
      const { stream, partition, sequence_id: sequenceId } = request.params
      if (!wholeNumber.test(partition) || !wholeNumber.test(sequenceId))
        throw new ProblemError(
          'event_not_found',
          `${stream}/${partition}/${sequenceId} is not the position of an event`,
        )
      if (stream.includes('/') || topicFault(stream) !== null)
        throw new ProblemError('stream_not_found', `There is no stream ${stream.slice(0, 200)}`)
      requireStream(request.caller, stream)
      if (underWay >= EXPLANATIONS_MAX)
        throw new ProblemError(
          'overloaded',
          `${EXPLANATIONS_MAX} events are being explained; ask again later`,
        )
      underWay += 1
      const reading = new AbortController()
      const { signal } = reading
      const position = { stream, partition: Number(partition), sequenceId: Number(sequenceId) }
      const monotonic = () => performance.now()
      try {
        const explained = await answerWithin(
          clock,
          EXPLAIN_MS_MAX,
          async () =>
            await explainEvent({
              broker,
              store,
              prefix,
              streams: known.streams,
              ...position,
              monotonic,
              signal,
            }),
          kafkaLate,
        )
        if (explained.event !== null) requireReadable(request.caller, explained.event.topic)
        return explained
      } finally {
        reading.abort()
        underWay -= 1
      }
    },
  })
}
