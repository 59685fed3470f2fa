import type { FastifyInstance } from 'fastify'
import { guardOwnPaths, type PassThroughParts, passThroughRoutes } from '../orchestrator/pass-through.ts'
import { apiDocsRoutes } from './api-docs-routes.ts'
import { type EventStreamParts, eventStreamRoute } from './event-stream-route.ts'
import { type HistoryParts, historyRoutes } from './history-routes.ts'
import { type PublishParts, publishRoute } from './publish-route.ts'
import { type StatusParts, statusRoute } from './status-route.ts'
import { type StreamParts, streamRoutes } from './stream-routes.ts'

export interface GatewayParts {
  publish: PublishParts
  history: HistoryParts
  eventStream: EventStreamParts
  streams: StreamParts
  status: StatusParts
  passThrough: PassThroughParts
}

/** Every route of the gateway: events, streams, status and the API's documents itself, the rest of `/v1` passed on. */
export function gatewayRoutes(app: FastifyInstance, parts: GatewayParts): void {
  guardOwnPaths(app)
  const register = [
    publishRoute(parts.publish),
    historyRoutes(parts.history),
    eventStreamRoute(parts.eventStream),
    streamRoutes(parts.streams),
    statusRoute(parts.status),
    apiDocsRoutes(parts.status),
    passThroughRoutes(parts.passThrough),
  ]
  // Plugins keep their own content types; registering is synchronous, loading is part of listen().
  for (const routes of register) app.register(routes)
}
