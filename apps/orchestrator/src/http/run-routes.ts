import { isEnded } from '@headrace/core'
import { encodeCursor, noQuery, parseQuery } from '@headrace/http'
import { durationMs, limits, type WireList, type WireRun, type WireStep } from '@headrace/schemas'
import { listRuns, listSteps } from '@headrace/store'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { startRun } from '../runs/start-run.ts'
import { existingRun, wireRuns } from './existing-run.ts'
import { runFilterOf, runListParameters } from './run-filter.ts'
import { wireStep } from './wire-run.ts'

/** Input up to 1 MiB, its text escaped, and the rest of the request. */
const START_BYTES_MAX = 2 * limits.runInputBytesMax + 64 * 1024

type ById = { Params: { id: string } }

/** `POST /v1/runs`, `GET /v1/runs[/{id}[/steps]]`. */
export function runRoutes(app: FastifyInstance, context: ApiContext): void {
  const { store } = context

  app.route({
    method: 'POST',
    url: '/v1/runs',
    config: { scope: 'runs:write' },
    bodyLimit: START_BYTES_MAX,
    handler: async (request, reply) => {
      parseQuery(noQuery, request.query)
      const { traceparent } = request.headers
      const { run, existing } = await startRun(context, request.body, traceparent)
      const [wire] = await wireRuns(context, [run], true)
      reply.code(existing ? 200 : 201).header('location', `/v1/runs/${run.id}`)
      return existing ? { ...wire, existing } : wire
    },
  })

  app.route({
    method: 'GET',
    url: '/v1/runs',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireRun>> => {
      const parameters = parseQuery(runListParameters, request.query)
      const { limit, cursor } = parameters
      const page = await listRuns(store, runFilterOf(parameters), { limit, cursor: cursor?.id ?? null })
      return {
        data: await wireRuns(context, page.runs, false),
        next_cursor: page.nextCursor === null ? null : encodeCursor({ id: page.nextCursor }),
      }
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/runs/:id',
    config: { scope: 'runs:read' },
    handler: async (request, reply) => {
      const { wait } = parseQuery(waitParameters, request.query)
      let run = await existingRun(context, request.params.id)
      const waitMs = wait ?? preferredWaitMs(request)
      if (waitMs > 0 && !isEnded(run.status)) {
        const gone = new AbortController()
        reply.raw.once('close', () => gone.abort())
        await context.watch.untilEnded(run.id, waitMs, gone.signal)
        run = await existingRun(context, run.id)
      }
      return (await wireRuns(context, [run], true))[0]
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/runs/:id/steps',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireStep>> => {
      parseQuery(noQuery, request.query)
      const run = await existingRun(context, request.params.id)
      // At most 1,000 by the limit of steps a run: one page.
      return { data: (await listSteps(store, run.id)).map(wireStep), next_cursor: null }
    },
  })
}

const waitParameters = z.strictObject({
  wait: z
    .string()
    .transform((text, context) => {
      const ms = durationMs(/^\d+$/.test(text) ? Number(text) : text)
      if (ms !== null && ms <= limits.runWaitMsMax) return ms
      const message = `must be a duration such as 30s, at most ${limits.runWaitMsMax / 1_000}s`
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    })
    .optional(),
})

/** `Prefer: wait=30` (RFC 7240): a wish, so that a longer one is cut instead of refused. */
function preferredWaitMs(request: FastifyRequest<ById>): number {
  const { prefer } = request.headers
  const wish = typeof prefer === 'string' ? /(?:^|[,;]\s*)wait=(\d{1,6})(?:$|[,;])/.exec(prefer)?.[1] : '0'
  return Math.min(Number(wish ?? 0) * 1_000, limits.runWaitMsMax)
}
