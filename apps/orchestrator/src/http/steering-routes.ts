import { cursorParameter, encodeCursor, noQuery, parseQuery } from '@headrace/http'
import {
  bulkRunsSchema,
  parseOrProblem,
  type WireBulk,
  type WireList,
  type WireRun,
  type WireTimelineEntry,
} from '@headrace/schemas'
import { readTimeline } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { bulkRuns } from '../runs/bulk-runs.ts'
import { retryRun, steerRun } from '../runs/steer-run.ts'
import { timelineOf } from '../runs/timeline.ts'
import { existingRun, wireRuns } from './existing-run.ts'
import { wireTime } from './wire-run.ts'

type ById = { Params: { id: string } }

const noBody = z.strictObject({}).nullish()
const bulkRequest = bulkRunsSchema.extend({ cursor: cursorParameter(z.strictObject({ below: z.uuid() })) })

/** `POST /v1/runs/{id}/cancel|pause|resume|retry`, `POST /v1/runs/bulk`, `GET /v1/runs/{id}/timeline`. */
export function steeringRoutes(app: FastifyInstance, context: ApiContext): void {
  for (const action of ['cancel', 'pause', 'resume'] as const) {
    app.route<ById>({
      method: 'POST',
      url: `/v1/runs/:id/${action}`,
      config: { scope: action === 'cancel' ? 'runs:write' : 'operate' },
      handler: async (request): Promise<WireRun | undefined> => {
        parseQuery(noQuery, request.query)
        parseOrProblem(noBody, request.body)
        const run = await steerRun(context, action, await existingRun(context, request.params.id))
        return (await wireRuns(context, [run], true))[0]
      },
    })
  }

  app.route<ById>({
    method: 'POST',
    url: '/v1/runs/:id/retry',
    config: { scope: 'runs:write' },
    handler: async (request, reply) => {
      parseQuery(noQuery, request.query)
      parseOrProblem(noBody, request.body)
      const { run, existing } = await retryRun(context, await existingRun(context, request.params.id))
      const [wire] = await wireRuns(context, [run], true)
      reply.code(existing ? 200 : 201).header('location', `/v1/runs/${run.id}`)
      return existing ? { ...wire, existing } : wire
    },
  })

  app.route({
    method: 'POST',
    url: '/v1/runs/bulk',
    config: { scope: 'operate' },
    handler: async (request): Promise<WireBulk> => {
      parseQuery(noQuery, request.query)
      const { cursor, ...body } = parseOrProblem(bulkRequest, request.body)
      const below = cursor?.below ?? null
      const { next, ...outcome } = await bulkRuns(context, { ...body, below })
      return { ...outcome, next_cursor: next === null ? null : encodeCursor({ below: next }) }
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/runs/:id/timeline',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireTimelineEntry>> => {
      parseQuery(noQuery, request.query)
      const { id } = await existingRun(context, request.params.id)
      const timeline = await readTimeline(context.store, id)
      const entries = timeline === null ? [] : timelineOf(timeline)
      return { data: entries.map(({ at, ...entry }) => ({ at: wireTime(at), ...entry })), next_cursor: null }
    },
  })
}
