import {
  type CommandReply,
  commandsRequestSchema,
  type HeartbeatReply,
  heartbeatRequestSchema,
  protocolVersion,
  type RegisterReply,
  registerRequestSchema,
} from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operation, type Operations } from './operation.ts'

const apps = ['orchestrator'] as const
const headers = { 'Headrace-Protocol': z.literal(protocolVersion) }
const worker = { tag: 'internal', scope: 'worker', apps, headers } as const satisfies Partial<Operation>
const text = z.string()

const registered: z.ZodType<RegisterReply> = z.object({
  worker_id: text,
  orchestrator_url: text,
  kafka_brokers: z.array(text),
  task_topic: text,
  group_id: text,
  heartbeat_ms: z.int(),
  lease_ms: z.int(),
  warnings: z
    .array(
      z.object({
        name: text,
        code: z.enum(['event_type_not_registered', 'event_type_differs']),
        detail: text,
      }),
    )
    .exactOptional(),
})
const beaten: z.ZodType<HeartbeatReply> = z.object({
  status: z.enum(['ok', 'unknown_worker']),
  lost: z.array(z.object({ run_id: z.uuid(), epoch: z.int() })),
})
/** Told apart by `kind`; what each holds is the protocol's, and not for users. */
const reply = z.looseObject({ kind: z.string() as unknown as z.ZodType<CommandReply['kind']> })

/** For our own parts: versioned by a header, and not stable. */
export const internalOperations: Operations = {
  'POST /v1/instances': {
    id: 'announceInstance',
    tag: 'internal',
    summary: 'A gateway says that it lives',
    scope: 'internal',
    apps,
    body: json(
      z.strictObject({
        id: text,
        component: z.enum(['gateway', 'trigger_service', 'orchestrator']),
        version: text,
      }),
    ),
    answers: { 204: { description: 'Noted' } },
  },
  'POST /v1/worker/register': {
    ...worker,
    id: 'registerWorker',
    summary: 'A worker says what it is and runs',
    body: json(registerRequestSchema),
    answers: { 200: answer('Where its tasks are', registered) },
    problems: [
      'unsupported_protocol',
      'unknown_worker',
      'registration_conflict',
      'invalid_topic',
      'invalid_pattern',
      'event_type_exists',
      'schema_unusable',
      'schema_incompatible',
      'schema_registry_unavailable',
      'too_many_event_types',
      'overloaded',
      'kafka_unavailable',
    ],
  },
  'POST /v1/worker/heartbeat': {
    ...worker,
    id: 'beatWorker',
    summary: 'A worker says that it lives',
    body: json(heartbeatRequestSchema),
    answers: { 200: answer('The runs that it has lost', beaten) },
    problems: ['unsupported_protocol'],
  },
  'POST /v1/worker/commands': {
    ...worker,
    id: 'sendCommands',
    summary: 'What a worker asks about its runs',
    body: json(commandsRequestSchema),
    answers: { 200: answer('A reply at each command’s place', z.object({ replies: z.array(reply) })) },
    problems: ['unsupported_protocol', 'unknown_worker', 'kafka_unavailable'],
  },
}
