import { type StandardSchema, validate } from '../workflow/standard-schema.ts'
import { startInputOf } from '../workflow/start-input.ts'
import type { ChildRun, InvokeOptions, SuspendOptions } from '../workflow/step-options.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'
import { checkWorkflow, childWaitOf, invokeCallOf, resumeWaitOf } from './child-arguments.ts'
import type { RunHost } from './run-host.ts'
import type { StepCall } from './step-call.ts'

/** What these steps need of their run. */
interface Caller {
  host: RunHost
  call: (step: StepCall) => Promise<unknown>
  prepare: () => () => void
}

/** Calls a step that is done though the code does not await it, and returns while the arguments are being checked. */
export async function callOwed(
  { call, prepare }: Pick<Caller, 'call' | 'prepare'>,
  make: () => StepCall | Promise<StepCall>,
): Promise<unknown> {
  const prepared = prepare()
  let result: Promise<unknown>
  try {
    const made = make()
    result = call(made instanceof Promise ? await made : made)
  } finally {
    prepared()
  }
  return await result
}

export type Suspension = SuspendOptions & { schema?: StandardSchema }

export async function invoke(
  caller: Caller,
  key: string,
  workflow: AnyWorkflow | string,
  input: unknown,
): Promise<ChildRun> {
  const child = await callOwed(caller, async () => {
    const id = checkWorkflow(key, workflow)
    return invokeCallOf(key, id, await startInput(caller.host, workflow, input))
  })
  const { run_id: id, workflow: started } = child as { run_id: string; workflow: string }
  return { id, workflow: started }
}

export async function invokeAndWait(
  { host, call }: Caller,
  key: string,
  workflow: AnyWorkflow | string,
  input: unknown,
  options: InvokeOptions = {},
): Promise<unknown> {
  const id = checkWorkflow(key, workflow)
  const travels = await startInput(host, workflow, input)
  return await call(childWaitOf(key, id, travels, options))
}

export async function suspend({ call }: Caller, key: string, options: Suspension = {}): Promise<unknown> {
  const value = await call(resumeWaitOf(key, options))
  const { schema } = options
  if (schema === undefined) return value
  return await validate({ schema, value, subject: `step "${key}": what it was resumed with` })
}

/** Made anew by every replay; the first one counts, as its child does. */
const startInput = async (host: RunHost, workflow: AnyWorkflow | string, input: unknown): Promise<unknown> =>
  await startInputOf(workflow, input, { id: () => host.uuid(), now: host.now() })
