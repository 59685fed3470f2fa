import { bindStreamSchema, parseOrProblem, ProblemError } from '@headrace/schemas'
import { z } from 'zod'
import type { AskOrchestrator } from '../orchestrator/ask-orchestrator.ts'
import type { KnownBindings } from './known-bindings.ts'

export interface BindStreamParts {
  ask: Pick<AskOrchestrator, 'change'>
  bindings: Pick<KnownBindings, 'streams' | 'readNow'>
}

const boundShape = z.object({ revision: z.number() })

/** Whether a body asks for an external stream. What it says otherwise is checked by whoever takes it. */
export const isBinding = (body: unknown): boolean =>
  typeof body === 'object' && body !== null && 'external' in body

/**
 * Binds a stream by way of the orchestrator, which has the truth about it. Resolves when this gateway has heard of it;
 * with whether it is new.
 */
export async function bindStream(
  stream: string,
  body: unknown,
  { ask, bindings, authorization }: BindStreamParts & { authorization: string | undefined },
): Promise<boolean> {
  const binding = parseOrProblem(bindStreamSchema, body)
  const answer = await ask.change('PUT', pathOf(stream), boundShape, { body: binding, authorization })
  await bindings.readNow()
  const heard = bindings.streams.bindingOf(stream)
  if (heard === null || heard.revision < answer.body.revision) throw notHeard(stream)
  return answer.status === 201
}

/** Resolves when this gateway has heard of it. Its Kafka topic stays as it is. */
export async function unbindStream(
  stream: string,
  { ask, bindings, authorization }: BindStreamParts & { authorization: string | undefined },
): Promise<void> {
  const { body } = await ask.change('DELETE', pathOf(stream), boundShape, { body: null, authorization })
  await bindings.readNow()
  const heard = bindings.streams.bindingOf(stream)
  if (heard !== null && heard.revision < body.revision) throw notHeard(stream)
}

const pathOf = (stream: string): string => `/v1/streams/${encodeURIComponent(stream)}/binding`

const notHeard = (stream: string): ProblemError =>
  new ProblemError(
    'kafka_unavailable',
    `what the stream ${stream} is bound to has changed, and could not be told to the gateways yet; they hear of it within seconds`,
  )
