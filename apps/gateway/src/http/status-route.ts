import type { Broker } from '@headrace/broker'
import { noQuery, parseQuery } from '@headrace/http'
import type { WireStatus } from '@headrace/schemas'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { withinDeadline } from '../kafka-deadline.ts'
import type { AskOrchestrator } from '../orchestrator/ask-orchestrator.ts'

export interface StatusParts {
  broker: Pick<Broker, 'ping'>
  ask: AskOrchestrator
  version: string
}

const PING_MS_MAX = 2_000

const component = z.object({ status: z.enum(['ok', 'degraded', 'down', 'unknown']), instances: z.number() })
const statusShape = z.object({
  postgres: z.object({ status: z.enum(['ok', 'down', 'unknown']) }),
  components: z.object({ gateway: component, trigger_service: component, orchestrator: component }),
})
type OthersStatus = z.infer<typeof statusShape>

/** What can be said of the others while the orchestrator, which knows them, cannot be asked. */
const unheard: OthersStatus = {
  postgres: { status: 'unknown' },
  components: {
    gateway: { status: 'ok', instances: 1 },
    trigger_service: { status: 'unknown', instances: 0 },
    orchestrator: { status: 'down', instances: 0 },
  },
}

/** `GET /v1/status`: 200 when everything is up, else 503, with the same body. */
export function statusRoute({ broker, ask, version }: StatusParts) {
  return async (app: FastifyInstance): Promise<void> => {
    const handler = async (request: FastifyRequest, reply: FastifyReply): Promise<WireStatus> => {
      parseQuery(noQuery, request.query)
      const { authorization } = request.headers
      const [kafka, others] = await Promise.all([
        kafkaStatus(broker),
        ask.get('/v1/status', statusShape, { authorization, statuses: [200, 503] }),
      ])
      const status = merge({ kafka, others: others ?? unheard, version })
      reply.code(status.status === 'ok' ? 200 : 503)
      return status
    }
    app.route({ method: 'GET', url: '/v1/status', config: { scope: 'public' }, handler })
  }
}

async function kafkaStatus(broker: Pick<Broker, 'ping'>): Promise<WireStatus['kafka']> {
  try {
    const { brokers } = await withinDeadline(broker.ping(), PING_MS_MAX)
    return { status: 'ok', brokers: [...brokers] }
  } catch {
    return { status: 'down', brokers: [] }
  }
}

/** This instance speaks for the gateways and for Kafka as it sees it; all else is the orchestrator's word. */
function merge({
  kafka,
  others,
  version,
}: {
  kafka: WireStatus['kafka']
  others: OthersStatus
  version: string
}): WireStatus {
  const gateway = {
    status: kafka.status === 'ok' ? ('ok' as const) : ('degraded' as const),
    instances: Math.max(1, others.components.gateway.instances),
  }
  const components = { ...others.components, gateway }
  const allUp = Object.values(components).every((each) => each.status === 'ok')
  const ok = allUp && kafka.status === 'ok' && others.postgres.status === 'ok'
  return { status: ok ? 'ok' : 'degraded', version, kafka, postgres: others.postgres, components }
}
