import type { CommandReply } from '@headrace/schemas'
import type { Logger } from '@headrace/service'
import { readRunInputs, type Store, type WorkerCommand } from '@headrace/store'
import { type DeadLetters, sourceOf } from '../recover/dead-letters.ts'

export interface SetAsideOptions {
  store: Store
  deadLetters: Pick<DeadLetters, 'add'>
  log: Logger
}

/** Inputs are up to 1 MiB each. */
const READ_AT_ONCE = 20

/**
 * Dead letters of the runs that a batch failed because their handler may not have what they were given. Before the worker
 * is answered, who sends again what was not: a death in between writes a letter twice rather than none.
 */
export async function setAsideRuns(
  { store, deadLetters, log }: SetAsideOptions,
  items: readonly WorkerCommand[],
  replies: readonly CommandReply[],
): Promise<void> {
  const details = new Map<string, string>()
  for (const [index, { command }] of items.entries()) {
    if (command.kind !== 'fail' || command.set_aside === undefined) continue
    if (replies[index]?.kind === 'done') details.set(command.run_id, messageOf(command.error))
  }
  const ids = [...details.keys()]
  for (let at = 0; at < ids.length; at += READ_AT_ONCE) {
    const runs = await readRunInputs(store, ids.slice(at, at + READ_AT_ONCE))
    for (const { id, workflow, trigger, input } of runs) {
      const triggerId = trigger?.id ?? null
      const detail = details.get(id) ?? ''
      const source = sourceOf(trigger)
      deadLetters.add([{ reason: 'schema_invalid', detail, runId: id, source, triggerId, payload: input }])
      log.warn(
        {
          event: 'run.set_aside',
          code: 'schema_invalid',
          run_id: id,
          workflow,
          ...(triggerId === null ? {} : { trigger: triggerId }),
        },
        'what the run was given does not pass its schema: it has failed, and is a dead letter',
      )
    }
  }
}

/** A worker wrote the error, so it may be anything; what is no error's text is shown as it is. */
function messageOf(error: string): string {
  try {
    const parsed: unknown = JSON.parse(error)
    const isTold = typeof parsed === 'object' && parsed !== null && 'message' in parsed
    return isTold && typeof parsed.message === 'string' ? parsed.message : error
  } catch {
    return error
  }
}
