import { noQuery, parseQuery } from '@headrace/http'
import { type ComponentStatus, parseOrProblem, type WireStatus } from '@headrace/schemas'
import { beatInstance, type Component, type Instance, listInstances } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'

const instanceSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._:-]{1,100}$/, 'must be 1 to 100 letters, digits and . _ : -'),
  component: z.enum(['gateway', 'trigger_service', 'orchestrator']),
  version: z.string().regex(/^[A-Za-z0-9.+-]{1,50}$/, 'must be a version'),
})

/** `GET /v1/status`; `POST /v1/instances`, by which components without a Postgres of their own say that they live. */
export function statusRoutes(app: FastifyInstance, context: ApiContext): void {
  const { store } = context

  app.route({
    method: 'GET',
    url: '/v1/status',
    config: { scope: 'public' },
    handler: async (request, reply) => {
      parseQuery(noQuery, request.query)
      const status = await readStatus(context)
      reply.code(status.status === 'ok' ? 200 : 503)
      return status
    },
  })

  app.route({
    method: 'POST',
    url: '/v1/instances',
    config: { scope: 'internal' },
    handler: async (request, reply) => {
      parseQuery(noQuery, request.query)
      await beatInstance(store, parseOrProblem(instanceSchema, request.body))
      return await reply.code(204).send()
    },
  })
}

async function readStatus({ store, broker, version }: ApiContext): Promise<WireStatus> {
  const [kafka, instances] = await Promise.all([
    broker.ping().then(
      ({ brokers }): WireStatus['kafka'] => ({ status: 'ok', brokers: [...brokers] }),
      (): WireStatus['kafka'] => ({ status: 'down', brokers: [] }),
    ),
    listInstances(store).catch(() => null),
  ])
  const components = {
    gateway: componentStatus(instances, 'gateway'),
    trigger_service: componentStatus(instances, 'trigger_service'),
    orchestrator: componentStatus(instances, 'orchestrator'),
  }
  const up =
    kafka.status === 'ok' && Object.values(components).every((component) => component.status === 'ok')
  return {
    status: up ? 'ok' : 'degraded',
    version,
    kafka,
    postgres: { status: instances === null ? 'down' : 'ok' },
    components,
  }
}

/** Who lives is written in Postgres: without it nobody knows. */
function componentStatus(instances: Instance[] | null, component: Component): ComponentStatus {
  if (instances === null) return { status: 'unknown', instances: 0 }
  const alive = instances.filter((instance) => instance.component === component).length
  return { status: alive > 0 ? 'ok' : 'down', instances: alive }
}
