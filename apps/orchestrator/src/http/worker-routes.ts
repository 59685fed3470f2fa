import {
  noQuery,
  OPEN_KEY_ID,
  parseQuery,
  parseTrustedShapeJson,
  requireQueue,
  takeJson,
} from '@headrace/http'
import {
  type CommandReply,
  type CommandsReply,
  type HeartbeatReply,
  heartbeatRequestSchema,
  parseCommandsRequest,
  parseOrProblem,
  type RegisterReply,
  registerRequestSchema,
} from '@headrace/schemas'
import type { Clock } from '@headrace/service'
import { type HeartbeatOutcome, heartbeatWorker, type Store } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import type { CommandDesk } from '../commands/command-desk.ts'
import type { RegisteredWorkers } from '../register/registered-workers.ts'
import type { Registration } from '../register/registration.ts'
import { answerWithin, PUBLISH_ANSWER_MS, WORKER_ANSWER_MS } from './answer-within.ts'
import { requireProtocol } from './protocol.ts'

export interface WorkerRoutesOptions {
  store: Store
  clock: Clock
  desk: CommandDesk
  registration: Registration
  workers: RegisteredWorkers
  beaten: (outcome: HeartbeatOutcome) => void
}

/** Twice the limit of a request elsewhere: payloads travel as JSON text inside JSON, where quotes are escaped. */
const COMMANDS_BYTES_MAX = 32 * 1024 * 1024

/** `POST /v1/worker/*`: internal, between the SDK's worker and us, versioned by the header `Headrace-Protocol`. */
export function workerRoutes(app: FastifyInstance, options: WorkerRoutesOptions): void {
  const { store, desk, registration, workers, clock } = options
  takeJson(app, parseTrustedShapeJson)
  app.addHook('preHandler', (request, _reply, done) => {
    parseQuery(noQuery, request.query)
    requireProtocol(request)
    done()
  })

  app.route({
    method: 'POST',
    url: '/v1/worker/register',
    config: { scope: 'worker' },
    handler: async (request): Promise<RegisterReply> => {
      const body = parseOrProblem(registerRequestSchema, request.body)
      requireQueue(request.caller, body.queue)
      const { keyId } = request.caller
      return await registration.register(body, keyId === OPEN_KEY_ID ? null : keyId)
    },
  })

  app.route({
    method: 'POST',
    url: '/v1/worker/heartbeat',
    config: { scope: 'worker' },
    handler: async (request): Promise<HeartbeatReply> => {
      const beat = parseOrProblem(heartbeatRequestSchema, request.body)
      const beating = async (late: AbortSignal): Promise<HeartbeatOutcome> => {
        await workers.requireOwn(request.caller, beat.worker_id)
        const listed = {
          workerId: beat.worker_id,
          status: beat.status,
          partitions: beat.partitions,
          runs: beat.runs.map(({ run_id: runId, epoch }) => ({ runId, epoch })),
          stealing: beat.stealing,
          stalledMs: beat.stalled_ms,
        }
        const outcome = await heartbeatWorker(store, listed, late)
        // Also when the answer comes too late: what went back must reach another worker.
        options.beaten(outcome)
        return outcome
      }
      const outcome = await answerWithin(clock, WORKER_ANSWER_MS, beating)
      if (outcome.status === 'unknown_worker') return { status: 'unknown_worker', lost: [] }
      return { status: 'ok', lost: outcome.lost.map(({ runId, epoch }) => ({ run_id: runId, epoch })) }
    },
  })

  app.route({
    method: 'POST',
    url: '/v1/worker/commands',
    config: { scope: 'worker' },
    bodyLimit: COMMANDS_BYTES_MAX,
    handler: async (request): Promise<CommandsReply> => {
      const body = parseCommandsRequest(request.body)
      const answering = async (late: AbortSignal): Promise<CommandReply[]> => {
        await workers.requireOwn(request.caller, body.worker_id)
        return await desk.answer(body, late)
      }
      const publishes = body.commands.some(({ kind }) => kind === 'publish')
      return {
        replies: await answerWithin(clock, publishes ? PUBLISH_ANSWER_MS : WORKER_ANSWER_MS, answering),
      }
    },
  })
}
