import { noQuery, parseQuery } from '@headrace/http'
import { bindStreamSchema, parseOrProblem, ProblemError, topicFault } from '@headrace/schemas'
import type { FastifyInstance } from 'fastify'
import type { ApiContext } from '../context.ts'
import { kafkaLate } from '../dead-letters/dead-letter-desk.ts'
import { answerWithin } from './answer-within.ts'

type ByStream = { Params: { stream: string } }

/** Kafka may take so long to make the config topic on all its brokers. */
const CHANGE_MS_MAX = 13_000

/** `PUT|DELETE /v1/streams/{stream}/binding`: what gateways ask for of an external stream, and wait to hear of. */
export function streamRoutes(app: FastifyInstance, { bindings, clock }: ApiContext): void {
  const url = '/v1/streams/:stream/binding'
  app.route<ByStream>({
    method: 'PUT',
    url,
    config: { scope: 'admin' },
    handler: async (request, reply) => {
      parseQuery(noQuery, request.query)
      const stream = nameOf(request.params.stream)
      const { external: _, ...rule } = parseOrProblem(bindStreamSchema, request.body)
      const { binding, isNew } = await answerWithin(
        clock,
        CHANGE_MS_MAX,
        async () => await bindings.bind(stream, rule),
        kafkaLate,
      )
      reply.code(isNew ? 201 : 200)
      return { stream, revision: binding.revision, ...binding.rule }
    },
  })
  app.route<ByStream>({
    method: 'DELETE',
    url,
    config: { scope: 'admin' },
    handler: async (request) => {
      parseQuery(noQuery, request.query)
      const stream = nameOf(request.params.stream)
      const revision = await answerWithin(
        clock,
        CHANGE_MS_MAX,
        async () => await bindings.unbind(stream),
        kafkaLate,
      )
      return { stream, revision }
    },
  })
}

function nameOf(stream: string): string {
  const fault = stream.includes('/') ? 'the name of a stream holds no /' : topicFault(stream)
  if (fault === null) return stream
  throw new ProblemError('invalid_topic', fault)
}
