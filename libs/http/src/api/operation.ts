import type { ProblemCode } from '@headrace/schemas'
import type { z } from 'zod'
import type { Scope } from '../scope.ts'

/** Which app answers a route; both answer `GET /v1/status`. */
type ApiApp = 'gateway' | 'orchestrator'

/** What the API is about, in the order of its pages. */
export const apiTags = {
  events: 'What happened: published, listed, followed, explained',
  streams: 'Where events are kept',
  'event types': 'Which schema the data of which topics has',
  workflows: 'What workers have registered',
  triggers: 'Which events start which workflow, and how far each has read',
  runs: 'Executions of workflows',
  waits: 'What runs wait for',
  'dead letters': 'What could not go on',
  workers: 'Who runs what',
  keys: 'API keys, and who changed what',
  status: 'The state of Headrace, and this document',
  internal: 'For Headrace’s own parts: not stable, not for users',
} as const

/** What one route of the HTTP API takes and answers: an operation of the OpenAPI document. */
export interface Operation {
  /** Unique, for generated clients. */
  readonly id: string
  readonly tag: keyof typeof apiTags
  readonly summary: string
  readonly scope: Exclude<Scope, 'passed_on'>
  readonly apps: readonly ApiApp[]
  /** Query parameters by name, as they are written in the URL. */
  readonly query?: Readonly<Record<string, z.ZodType>>
  readonly headers?: Readonly<Record<string, z.ZodType>>
  readonly body?: OperationBody
  readonly answers: Readonly<Record<number, OperationAnswer>>
  /** Its own problems; what any route may answer is added. */
  readonly problems?: readonly ProblemCode[]
}

export interface OperationBody {
  readonly isOptional?: boolean
  /** By content type. */
  readonly formats: Readonly<Record<string, z.ZodType>>
}

export interface OperationAnswer {
  readonly description: string
  /** Of a body in JSON, unless `type` says otherwise; absent: without a body. */
  readonly schema?: z.ZodType
  readonly type?: string
  /** Further bodies by content type. */
  readonly others?: Readonly<Record<string, z.ZodType>>
}

/** Operations by route, written as in docs/api.md: `GET /v1/runs/{id}`. */
export type Operations = Readonly<Record<string, Operation>>

export const json = (schema: z.ZodType): OperationBody => ({ formats: { 'application/json': schema } })
export const answer = (description: string, schema: z.ZodType): OperationAnswer => ({ description, schema })
