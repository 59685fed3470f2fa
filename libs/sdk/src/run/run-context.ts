import type { RetryPolicy } from '@headrace/core'
import type { ClaimedRun, StepKind } from '@headrace/schemas'
import type {
  RunInfo,
  RunLog,
  StepAttempt,
  StepOptions,
  Steps,
  WorkflowContext,
} from '../workflow/context.ts'
import { retryPolicyOf } from '../workflow/retries.ts'
import type { LazyAbort } from './lazy-abort.ts'
import type { Logger, RunHost } from './run-host.ts'

/** A step as the workflow's code called it. */
export interface StepCall {
  key: string
  kind: StepKind
  body: (attempt: StepAttempt) => unknown
  policy: Readonly<RetryPolicy>
}

export interface ContextParams {
  claimed: ClaimedRun
  policy: Readonly<RetryPolicy>
  host: RunHost
  abort: LazyAbort
  /** True while lines would repeat what was logged before. */
  silent: () => boolean
  call: (step: StepCall) => Promise<unknown>
}

/** The `ctx` of one try of a handler. */
export function createContext(params: ContextParams): WorkflowContext {
  const { claimed, host, abort } = params
  return {
    step: stepsOf(params),
    run: runInfoOf(claimed),
    log: runLogOf(host.log, claimed, params.silent),
    get signal() {
      return abort.signal
    },
  }
}

function stepsOf({ call, policy, host }: ContextParams): Steps {
  const run = async (key: string, body: StepCall['body'], options?: StepOptions): Promise<unknown> => {
    const own = options?.retries
    const stepPolicy = own === undefined ? policy : retryPolicyOf(own, `step "${key}"`, policy)
    return await call({ key, kind: 'run', body, policy: stepPolicy })
  }
  // What is handed out under the key is what this body returned once: the type says so.
  const value = async <Value>(key: string, make: () => Value): Promise<Value> =>
    (await call({ key, kind: 'value', body: make, policy })) as Value
  return {
    run: ((key, body, options) => observed(run(key, body, options))) as Steps['run'],
    uuid: (key) => observed(value(key, () => host.uuid())),
    now: (key) => observed(value(key, () => host.now()).then((ms) => new Date(ms))),
    random: (key) => observed(value(key, () => host.random())),
  }
}

/** A step that fails while the code awaits another one would be an unhandled rejection and end the whole worker. */
function observed<Value>(result: Promise<Value>): Promise<Value> {
  result.catch(() => {})
  return result
}

function runInfoOf(claimed: ClaimedRun): RunInfo {
  const { trigger } = claimed
  return {
    id: claimed.run_id,
    workflow: claimed.workflow,
    build: claimed.build,
    attempt: claimed.attempt,
    epoch: claimed.epoch,
    startedAt: new Date(claimed.started_at),
    tags: claimed.tags,
    trigger: trigger && {
      id: trigger.id,
      stream: trigger.stream,
      partition: trigger.partition,
      firstSequenceId: trigger.first_sequence_id,
      lastSequenceId: trigger.last_sequence_id,
    },
    parentRunId: claimed.parent_run_id,
    traceparent: claimed.traceparent,
  }
}

function runLogOf(log: Logger, claimed: ClaimedRun, silent: () => boolean): RunLog {
  const own = { run_id: claimed.run_id, workflow: claimed.workflow, epoch: claimed.epoch }
  const at = (level: keyof Logger) => (message: string, fields?: Record<string, unknown>) => {
    if (!silent()) log[level]({ event: 'run.log', ...fields, ...own }, message)
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
