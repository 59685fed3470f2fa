import { type Duration, limits, nameSchema } from '@headrace/schemas'
import { LimitExceededError } from '../errors/step-error.ts'
import type { InvokeOptions, SuspendOptions } from '../workflow/step-options.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import { jsonOrThrow, waitMs } from './step-arguments.ts'
import type { InvokeCall, WaitCall } from './step-call.ts'

/** The arguments of steps that start child runs or wait for somebody, checked before anything is sent. */

/** The id of a workflow given itself or by its id. Throws TypeError. */
export function checkWorkflow(key: string, workflow: AnyWorkflow | string): string {
  // Callers without types give anything.
  const id: unknown = typeof workflow === 'string' ? workflow : (workflow as AnyWorkflow | undefined)?.id
  const parsed = nameSchema.safeParse(id)
  if (parsed.success) return parsed.data
  const said = JSON.stringify(id) ?? typeof id
  throw new TypeError(`step "${key}": workflow must be a workflow, or the id of one, not ${said}`)
}

/** Throws TypeError or LimitExceededError. `input`: as it travels. */
export function invokeCallOf(key: string, workflow: string, input: unknown): InvokeCall {
  return { kind: 'invoke', key, child: childOf(key, workflow, input) }
}

/** Throws TypeError or LimitExceededError. */
export function childWaitOf(key: string, workflow: string, input: unknown, options: InvokeOptions): WaitCall {
  const timeoutMs = timeoutOf(key, options.timeout, limits.waitMsMax)
  return {
    kind: 'child',
    key,
    wait: { kind: 'run', ...childOf(key, workflow, input), timeout_ms: timeoutMs },
  }
}

/** Throws TypeError or LimitExceededError. */
export function resumeWaitOf(key: string, options: SuspendOptions): WaitCall {
  const timeoutMs = timeoutOf(key, options.timeout, limits.waitMsDefault)
  return { kind: 'resume', key, wait: { kind: 'resume', timeout_ms: timeoutMs } }
}

const timeoutOf = (key: string, timeout: Duration | undefined, otherwiseMs: number): number =>
  timeout === undefined ? otherwiseMs : waitMs(key, 'timeout', timeout)

const childOf = (key: string, workflow: string, input: unknown): InvokeCall['child'] => ({
  workflow,
  input: inputText(key, input),
})

function inputText(key: string, input: unknown): string {
  const text = jsonOrThrow(key, 'input', input)
  const bytes = Buffer.byteLength(text)
  if (bytes <= limits.runInputBytesMax) return text
  throw new LimitExceededError({
    limit: 'runInputBytesMax',
    message: `step "${key}": input is ${bytes} bytes of JSON; a run takes at most ${limits.runInputBytesMax}. Store it elsewhere and pass its address`,
  })
}
