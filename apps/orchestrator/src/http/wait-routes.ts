import { cursorParameter, encodeCursor, limitParameter, noQuery, parseQuery } from '@headrace/http'
import { limits, parseRunId, type WireList, type WireWait } from '@headrace/schemas'
import { listWaitedStreams, listWaits, type WaitFilter } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { resumeStep } from '../waits/resume-step.ts'
import { topicParameter } from './topic-parameter.ts'
import { wireTime, wireWait } from './wire-run.ts'

const waitStatuses = ['pending', 'open', 'answered', 'timed_out', 'cancelled'] as const

const statuses = z.string().transform((text, context): (typeof waitStatuses)[number][] => {
  const named = text.split(',').map((part) => waitStatuses.find((status) => status === part))
  if (named.every((status) => status !== undefined)) return named
  const message = `must be one or more of ${waitStatuses.join(', ')}, separated by commas`
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

const position = z.strictObject({ run_id: z.uuid(), key: z.string().max(limits.stepKeyCharactersMax) })

/** The query of `GET /v1/waits`. */
const parameters = z.strictObject({
  status: statuses.optional(),
  topic: topicParameter.optional(),
  run_id: z
    .string()
    .refine((text) => parseRunId(text) !== null, { error: 'must be the id of a run' })
    .optional(),
  limit: limitParameter,
  cursor: cursorParameter(position),
})

function filterOf({ status, topic, run_id: runId }: z.output<typeof parameters>): WaitFilter {
  return {
    ...(status === undefined ? {} : { status }),
    ...(topic === undefined ? {} : { topic }),
    ...(runId === undefined ? {} : { runId }),
  }
}

/** What a step is given, up to 1 MiB, its text escaped, and the rest of the request. */
const RESUME_BYTES_MAX = 2 * limits.stepOutputBytesMax + 64 * 1024

/** `GET /v1/waits`, `GET /v1/waited-streams`, `POST /v1/runs/{id}/steps/{key}/resume`. */
export function waitRoutes(app: FastifyInstance, context: ApiContext): void {
  const { store } = context

  app.route<{ Params: { id: string; key: string } }>({
    method: 'POST',
    url: '/v1/runs/:id/steps/:key/resume',
    config: { scope: 'runs:write' },
    bodyLimit: RESUME_BYTES_MAX,
    handler: async (request): Promise<WireWait> => {
      parseQuery(noQuery, request.query)
      const { id, key } = request.params
      return wireWait(await resumeStep(context, { id, key }, request.body))
    },
  })

  app.route({
    method: 'GET',
    url: '/v1/waits',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireWait>> => {
      const query = parseQuery(parameters, request.query)
      const { limit, cursor } = query
      const page = await listWaits(store, filterOf(query), {
        limit,
        cursor: cursor === undefined ? null : { runId: cursor.run_id, key: cursor.key },
      })
      const { nextCursor: next } = page
      return {
        data: page.waits.map(wireWait),
        next_cursor: next === null ? null : encodeCursor({ run_id: next.runId, key: next.key }),
      }
    },
  })

  app.route({
    method: 'GET',
    url: '/v1/waited-streams',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<{ stream: string; projected_from: string }>> => {
      parseQuery(noQuery, request.query)
      const streams = await listWaitedStreams(store)
      // As many as there are streams: one page.
      return {
        data: streams.map(({ stream, projectedFrom }) => ({
          stream,
          projected_from: wireTime(projectedFrom),
        })),
        next_cursor: null,
      }
    },
  })
}
