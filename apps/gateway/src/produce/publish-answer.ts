import {
  type FieldFault,
  ProblemError,
  type ProblemCode,
  type Problem,
  type PublishedEvent,
} from '@headrace/schemas'
import type { EventOutcome } from './event-outcome.ts'

/** One entry of the answer, at the place of its event in the request. */
type PublishEntry = PublishedEvent | { id?: string; problem: Problem }

export type PublishAnswer =
  /** 200: all were written. 207: some were. */
  | { status: 200 | 207; body: { events: PublishEntry[]; warnings: readonly FieldFault[] } }
  /** None was written, as far as is known. */
  | { status: 503; problem: ProblemError; events: PublishEntry[] }

/** P1: 200 only when every event is held by all in-sync replicas. */
export function publishAnswer(
  outcomes: readonly EventOutcome[],
  { requestId, warnings }: { requestId: string; warnings: readonly FieldFault[] },
): PublishAnswer {
  let failed = 0
  const events = outcomes.map((outcome): PublishEntry => {
    if (outcome.kind === 'written') return outcome.event
    failed += 1
    const problem = outcome.problem.toProblem(requestId)
    return outcome.id === null ? { problem } : { id: outcome.id, problem }
  })
  if (failed === 0) return { status: 200, body: { events, warnings } }
  if (failed < outcomes.length) return { status: 207, body: { events, warnings } }
  return { status: 503, problem: commonProblem(outcomes), events }
}

/** When codes differ the gravest one speaks for the request: what may be written must not be taken for "not written". */
const gravity: readonly ProblemCode[] = ['unknown', 'refused_by_kafka', 'kafka_unavailable', 'shutting_down']

function commonProblem(outcomes: readonly EventOutcome[]): ProblemError {
  const problems = outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.problem] : []))
  for (const code of gravity) {
    const problem = problems.find((candidate) => candidate.code === code)
    if (problem) return problem
  }
  return problems[0] ?? new ProblemError('internal', 'The request held no events')
}
