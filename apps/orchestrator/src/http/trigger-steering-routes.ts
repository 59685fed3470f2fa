import { noQuery, parseQuery } from '@headrace/http'
import {
  parseOrProblem,
  ProblemError,
  replayTriggerSchema,
  resetTriggerSchema,
  type WireReplay,
  type WireReset,
} from '@headrace/schemas'
import { getTrigger, type TriggerRow } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { existingReplay, replayTrigger, stopReplay } from '../triggers/replay-trigger.ts'
import { resetTrigger } from '../triggers/reset-trigger.ts'
import { nameOrProblem } from './name-or-problem.ts'

type ById = { Params: { id: string } }
type ByReplay = { Params: { id: string; replay: string } }

const noBody = z.strictObject({}).nullish()

/** `POST /v1/triggers/{id}/reset|replay`, `GET /v1/triggers/{id}/replays/{replay}`, `POST …/cancel`. */
export function triggerSteeringRoutes(app: FastifyInstance, context: ApiContext): void {
  async function liveTrigger(id: string): Promise<TriggerRow> {
    const trigger = await getTrigger(context.store, nameOrProblem('trigger_not_found', 'trigger', id))
    if (trigger === null || trigger.status === 'retired')
      throw new ProblemError('trigger_not_found', `There is no trigger ${id} that is not retired`)
    return trigger
  }

  app.route<ById>({
    method: 'POST',
    url: '/v1/triggers/:id/reset',
    config: { scope: 'operate' },
    handler: async (request): Promise<WireReset> => {
      parseQuery(noQuery, request.query)
      const body = parseOrProblem(resetTriggerSchema, request.body)
      return await resetTrigger(context, await liveTrigger(request.params.id), body)
    },
  })

  app.route<ById>({
    method: 'POST',
    url: '/v1/triggers/:id/replay',
    config: { scope: 'operate' },
    handler: async (request, reply): Promise<WireReplay> => {
      parseQuery(noQuery, request.query)
      const body = parseOrProblem(replayTriggerSchema, request.body)
      const trigger = await liveTrigger(request.params.id)
      const replay = await replayTrigger(context, trigger, body)
      reply.code(replay.status === 'running' ? 202 : 200)
      reply.header('location', `/v1/triggers/${trigger.id}/replays/${replay.id}`)
      return replay
    },
  })

  app.route<ByReplay>({
    method: 'GET',
    url: '/v1/triggers/:id/replays/:replay',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireReplay> => {
      parseQuery(noQuery, request.query)
      return await existingReplay(context, ...namesOf(request.params))
    },
  })

  app.route<ByReplay>({
    method: 'POST',
    url: '/v1/triggers/:id/replays/:replay/cancel',
    config: { scope: 'operate' },
    handler: async (request): Promise<WireReplay> => {
      parseQuery(noQuery, request.query)
      parseOrProblem(noBody, request.body)
      return await stopReplay(context, ...namesOf(request.params))
    },
  })
}

/** What cannot be an id names nothing, and Postgres need not be asked. */
function namesOf({ id, replay }: ByReplay['Params']): [trigger: string, replay: string] {
  if (!z.uuid().safeParse(replay).success)
    throw new ProblemError('replay_not_found', `There is no replay ${replay} of ${id}`)
  return [nameOrProblem('replay_not_found', 'trigger', id), replay]
}
