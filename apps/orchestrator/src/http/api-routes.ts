import type { FastifyInstance } from 'fastify'
import type { ApiContext } from '../context.ts'
import { auditRoute } from './audit-route.ts'
import { deadLetterRoutes } from './dead-letter-routes.ts'
import { eventTypeRoutes } from './event-type-routes.ts'
import { explainRoute } from './explain-route.ts'
import { keyRoutes } from './key-routes.ts'
import { resourceRoutes } from './resource-routes.ts'
import { runRoutes } from './run-routes.ts'
import { steeringRoutes } from './steering-routes.ts'
import { statusRoutes } from './status-routes.ts'
import { streamRoutes } from './stream-routes.ts'
import { triggerRoutes } from './trigger-routes.ts'
import { triggerSteeringRoutes } from './trigger-steering-routes.ts'
import { waitRoutes } from './wait-routes.ts'
import { workflowRoutes } from './workflow-routes.ts'

/** The part of the public API that needs Postgres; the gateway passes it on. */
export function apiRoutes(app: FastifyInstance, context: ApiContext): void {
  runRoutes(app, context)
  steeringRoutes(app, context)
  triggerRoutes(app, context)
  triggerSteeringRoutes(app, context)
  waitRoutes(app, context)
  deadLetterRoutes(app, context)
  explainRoute(app, context)
  streamRoutes(app, context)
  eventTypeRoutes(app, context)
  workflowRoutes(app, context)
  resourceRoutes(app, context)
  keyRoutes(app, context)
  auditRoute(app, context)
  statusRoutes(app, context)
}
