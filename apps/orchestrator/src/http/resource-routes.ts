import { noQuery, parseQuery } from '@headrace/http'
import {
  ProblemError,
  type WireBuild,
  type WireList,
  type WireQueue,
  type WireWorker,
} from '@headrace/schemas'
import {
  type BuildRecord,
  listBuilds,
  listQueues,
  listWorkers,
  type QueueRecord,
  type WorkerRecord,
} from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { nameOrProblem } from './name-or-problem.ts'
import { pageOf, pageParameters, wireList } from './page.ts'
import { wireTime } from './wire-run.ts'

type ById = { Params: { id: string } }
const page = z.strictObject(pageParameters)
const config = { scope: 'runs:read' } as const

/** `GET /v1/builds`, `GET /v1/workers`, `GET /v1/queues[/{id}]`. */
export function resourceRoutes(app: FastifyInstance, { store, serverClock }: ApiContext): void {
  app.route({
    method: 'GET',
    url: '/v1/builds',
    config,
    handler: async (request): Promise<WireList<WireBuild>> => {
      const parameters = parseQuery(page, request.query)
      return wireList(pageOf(await listBuilds(store), newestBuildFirst, parameters), wireBuild)
    },
  })

  app.route({
    method: 'GET',
    url: '/v1/workers',
    config,
    handler: async (request): Promise<WireList<WireWorker>> => {
      const parameters = parseQuery(page, request.query)
      return wireList(pageOf(await listWorkers(store), newestFirst, parameters), wireWorker)
    },
  })

  app.route({
    method: 'GET',
    url: '/v1/queues',
    config,
    handler: async (request): Promise<WireList<WireQueue>> => {
      const parameters = parseQuery(page, request.query)
      const queues = pageOf(await listQueues(store), ({ id }) => id, parameters)
      return wireList(queues, wireQueue(serverClock.now()))
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/queues/:id',
    config,
    handler: async (request): Promise<WireQueue> => {
      parseQuery(noQuery, request.query)
      const id = nameOrProblem('queue_not_found', 'queue', request.params.id)
      const queue = (await listQueues(store)).find((each) => each.id === id)
      if (queue === undefined) throw new ProblemError('queue_not_found', `There is no queue ${id}`)
      return wireQueue(serverClock.now())(queue)
    },
  })
}

/** Falls as the time rises, at a fixed width, so that text sorts as the number does. */
const fallingWith = (ms: number): string => String(Number.MAX_SAFE_INTEGER - ms).padStart(16, '0')
const newestFirst = ({ id, startedAt }: WorkerRecord): string => `${fallingWith(startedAt)}/${id}`
const newestBuildFirst = ({ app, id, firstRegisteredAt }: BuildRecord): string =>
  `${fallingWith(firstRegisteredAt)}/${app}/${id}`

const wireBuild = (build: BuildRecord): WireBuild => ({
  id: build.id,
  app: build.app,
  in_force: build.inForce,
  workflows: build.workflows,
  workers: build.workers,
  pinned_runs: build.pinnedRuns,
  first_registered_at: wireTime(build.firstRegisteredAt),
  last_registered_at: wireTime(build.lastRegisteredAt),
})

const wireWorker = (worker: WorkerRecord): WireWorker => ({
  id: worker.id,
  app: worker.app,
  queue: worker.queue,
  build: worker.build,
  host: worker.host,
  sdk: worker.sdk,
  status: worker.status,
  partitions: worker.partitions,
  workflows: worker.workflows,
  running: worker.running,
  concurrency: worker.concurrency,
  started_at: wireTime(worker.startedAt),
  last_heartbeat_at: wireTime(worker.lastHeartbeatAt),
})

const wireQueue =
  (nowMs: number) =>
  ({ oldestQueuedAt, ...queue }: QueueRecord): WireQueue => ({
    ...queue,
    oldest_queued_seconds:
      oldestQueuedAt === null ? null : Math.max(0, Math.round(nowMs - oldestQueuedAt) / 1_000),
  })
