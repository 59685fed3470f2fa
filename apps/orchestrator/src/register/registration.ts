import { type Broker, tasksTopic } from '@headrace/broker'
import {
  type FieldFault,
  ProblemError,
  type RegisterReply,
  type WorkerRegistration,
  type WorkflowDefinition,
} from '@headrace/schemas'
import type { Logger } from '@headrace/service'
import {
  type NewWorker,
  registerApp,
  type Registration as RegisterApp,
  type RegistrationConflict,
  replaceWorker,
  type RisenBuild,
  type Store,
  type TaskSeed,
} from '@headrace/store'
import type { EventTypes } from '../event-types/event-types.ts'
import type { KnownBindings } from '../streams/known-bindings.ts'
import { refuseExpressions } from './expressions.ts'
import { ensureRegistrationTopics, streamEnds } from './topics.ts'

/** `POST /v1/worker/register`: what a worker can run becomes known, and its triggers begin. */
export interface Registration {
  /**
   * Throws what {@link EventTypes.register} throws, `registration_conflict`, `invalid_field` where an expression is none, `too_many_streams`, and `kafka_unavailable` when the ends of the streams cannot be
   * taken: a trigger that began somewhere else than at its registration would miss events, or start runs for old ones.
   * `keyId`: of the API key that the request came with; null while keys are off.
   */
  register(request: WorkerRegistration, keyId: string | null): Promise<RegisterReply>
  /**
   * Makes the set of a build count that was registered before, now that no newer one has a living worker. Where it cannot
   * (Kafka is away, another app took one of its names) it says so and leaves all as it is.
   */
  raise(build: RisenBuild): Promise<void>
}

export interface RegistrationOptions {
  store: Store
  broker: Broker
  log: Logger
  prefix: string
  known: KnownBindings
  eventTypes: Pick<EventTypes, 'register'>
  brokers: string[]
  streamPartitions: number
  taskPartitions: number
  /** These runs are queued again: their worker came back without them. */
  givenBack: (seeds: TaskSeed[]) => void
  /** Where workers send commands. */
  advertisedUrl: () => string
}

/** Workers beat this often, and leave their group when nobody answers for the lease. */
export const HEARTBEAT_MS = 2_000
export const LEASE_MS = 6_000
/** Of the 15 s that a worker waits for its registration, what the schema registry may take for its event types. */
const EVENT_TYPES_MS_MAX = 10_000

export function createRegistration(options: RegistrationOptions): Registration {
  const { store, broker, known, log, prefix } = options
  // Inside the transaction: the offsets belong to this registration, not to a moment before it.
  const newCursors: RegisterApp['newCursors'] = async (triggers) => {
    await known.refresh()
    return await streamEnds(broker, known.streams, [...new Set(triggers.map(({ stream }) => stream))])
  }
  return {
    async raise({ app, build, workflows }) {
      const fields = { event: 'build.raised', worker_app: app, build }
      const outcome = await registerApp(store, { app, build, workflows, newCursors })
      if (outcome.status === 'registered')
        log.info(fields, 'no newer build has a living worker: the workflows and triggers of this one count')
      else log.warn({ ...fields, code: 'registration_conflict', outcome }, 'the build cannot count')
    },
    async register(request, keyId) {
      refuseDoubles(request.workflows)
      refuseExpressions(request.workflows)
      // Before anything of it is done: with an event type that is refused the worker is.
      const warnings = await options.eventTypes.register(request, AbortSignal.timeout(EVENT_TYPES_MS_MAX))
      await known.refresh()
      await ensureRegistrationTopics({ ...options, streams: known.streams }, request)
      const outcome = await registerApp(store, {
        app: request.app,
        build: request.build,
        workflows: request.workflows,
        worker: workerOf(request, keyId),
        newCursors,
      })
      if (outcome.status === 'conflict') throw conflictProblem(request, outcome.conflicts)
      if (outcome.status === 'unknown_worker') {
        throw new ProblemError(
          'unknown_worker',
          `The worker ${request.worker_id} was declared dead, or is another one: register again under a new id`,
        )
      }
      if (!outcome.started) {
        log.warn(
          { event: 'build.older', code: 'older_build', worker_app: request.app, build: request.build },
          'an older build came back while a newer one lives: its workflows and triggers change nothing',
        )
      }
      if (request.replaces !== undefined)
        options.givenBack(await replaceWorker(store, { ...request, workerId: request.replaces, keyId }))
      log.info(
        {
          event: 'worker.registered',
          worker_id: request.worker_id,
          worker_app: request.app,
          build: request.build,
          workflows: request.workflows.length,
        },
        'a worker registered',
      )
      return {
        worker_id: request.worker_id,
        orchestrator_url: options.advertisedUrl(),
        kafka_brokers: options.brokers,
        task_topic: tasksTopic(prefix, request.queue).name,
        group_id: `${prefix}.workers.${request.queue}`,
        heartbeat_ms: HEARTBEAT_MS,
        lease_ms: LEASE_MS,
        ...(warnings.length === 0 ? {} : { warnings }),
      }
    },
  }
}

const workerOf = (
  { worker_id: id, workflows, ...request }: WorkerRegistration,
  keyId: string | null,
): NewWorker => ({
  id,
  keyId,
  app: request.app,
  build: request.build,
  queue: request.queue,
  host: request.host,
  sdk: request.sdk,
  concurrency: request.concurrency,
  workflows: workflows.map((workflow) => workflow.id),
})

/** Ids that belong to another app: whose workers would run them is not to be decided by who came last. */
function conflictProblem(
  { workflows }: WorkerRegistration,
  conflicts: readonly RegistrationConflict[],
): ProblemError {
  return ProblemError.fromFaults(
    conflicts.map(({ kind, id, app }): FieldFault => {
      const at = workflows.findIndex((each) =>
        kind === 'workflow' ? each.id === id : each.triggers.some((trigger) => trigger.id === id),
      )
      const place = workflows[at]?.triggers.findIndex((trigger) => trigger.id === id) ?? -1
      return {
        pointer: kind === 'workflow' ? `/workflows/${at}/id` : `/workflows/${at}/triggers/${place}/id`,
        code: 'registration_conflict',
        detail: `the ${kind} ${id} belongs to the app ${app}: choose another id, or give both one HEADRACE_APP`,
      }
    }),
  )
}

/** A workflow or a trigger that stands twice in one set: nobody can say which of the two is meant. */
export function refuseDoubles(workflows: readonly WorkflowDefinition[]): void {
  const faults: FieldFault[] = []
  const seen = { workflow: new Set<string>(), trigger: new Set<string>() }
  const check = (kind: 'workflow' | 'trigger', id: string, pointer: string): void => {
    if (seen[kind].has(id)) {
      faults.push({
        pointer,
        code: 'registration_conflict',
        detail: `the ${kind} ${id} stands twice in this registration`,
      })
    }
    seen[kind].add(id)
  }
  for (const [at, workflow] of workflows.entries()) {
    check('workflow', workflow.id, `/workflows/${at}/id`)
    for (const [place, trigger] of workflow.triggers.entries()) {
      check('trigger', trigger.id, `/workflows/${at}/triggers/${place}/id`)
    }
  }
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
}
