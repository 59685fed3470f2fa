import {
  durationMs,
  limits,
  parseOrProblem,
  ProblemError,
  type StartRun,
  startRunSchema,
} from '@headrace/schemas'
import { createRun, newRunIds, type RunRecord } from '@headrace/store'
import type { ApiContext } from '../context.ts'

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/**
 * Starts a run by API. With the caller's own `id` the same request may be sent again: it starts nothing twice.
 * Throws the problems of the body, `workflow_not_found`, and `run_exists` where the caller asked for it.
 */
export async function startRun(
  { store, serverClock, events, delayed }: Pick<ApiContext, 'store' | 'serverClock' | 'events' | 'delayed'>,
  requestBody: unknown,
  traceparent: unknown,
): Promise<{ run: RunRecord; existing: boolean }> {
  const body = parseOrProblem(startRunSchema, requestBody)
  const [runId = ''] = newRunIds(1, serverClock.now())
  const created = await createRun(store, {
    runId,
    workflow: body.workflow,
    input: inputOf(body),
    externalId: body.id ?? null,
    tags: body.tags ?? {},
    delayMs: delayMsOf(body),
    traceparent: typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? traceparent : null,
  })
  switch (created.status) {
    case 'created':
      if (created.seed !== null) events.queued([created.seed])
      else if (created.held !== null) events.held([created.held])
      else if (created.run.runAt !== null) delayed.expect(created.run.runAt)
      return { run: created.run, existing: false }
    case 'existing':
      if (body.on_conflict !== 'fail') return { run: created.run, existing: true }
      throw new ProblemError('run_exists', `The run ${created.run.id} of this workflow has this id`, {
        errors: [{ pointer: '/id', code: 'run_exists', detail: `names the run ${created.run.id} already` }],
      })
    case 'invalid_key': {
      const detail = `the concurrency key of the workflow fails on it: ${created.reason}`
      throw ProblemError.fromFaults([{ pointer: '/input', code: 'invalid_field', detail }])
    }
    case 'workflow_not_found':
      break
  }
  throw new ProblemError(
    'workflow_not_found',
    `There is no workflow ${body.workflow}: start a worker that has it, then send the request again`,
    { errors: [{ pointer: '/workflow', code: 'workflow_not_found', detail: 'is not registered' }] },
  )
}

const delayMsOf = ({ delay }: StartRun): number | null =>
  delay === undefined ? null : durationMs(delay) || null

function inputOf({ input }: StartRun): string | null {
  if (input === undefined) return null
  const text = JSON.stringify(input)
  const bytes = Buffer.byteLength(text)
  if (bytes <= limits.runInputBytesMax) return text
  const detail = `has ${bytes} bytes as JSON, the most is ${limits.runInputBytesMax}`
  throw ProblemError.fromFaults([{ pointer: '/input', code: 'body_too_large', detail }])
}
