import type { InvokeCommand, WaitCommand } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { withPartitions } from '../partitions.ts'
import { newRunIds } from '../run-id.ts'
import { cancelWaitsOf, startRuns } from './cancel-waits.ts'
import type { ConcurrencyKey } from './concurrency-keys.ts'
import type { WaitRegistration } from './register-waits.ts'
import { type StartChildRow, startChildrenStatement } from './start-children-statement.ts'
import { type KeyOfStart, rulesOfStarts } from './start-rules.ts'
import type { TaskSeed } from './task-seed.ts'
import { inRounds, replayMismatch, tooManyOpenWaits } from './wait-rounds.ts'

/** The wait of a step that starts a child run and waits for its end. */
export type RunWaitCommand = WaitCommand & { wait: Extract<WaitCommand['wait'], { kind: 'run' }> }

export interface ChildRequest {
  workerId: string
  command: RunWaitCommand | InvokeCommand
}

export type StartedChild =
  | WaitRegistration
  /** To an invoke: its child run, started now or before. */
  | { kind: 'invoked'; childRunId: string }

export interface StartedChildren {
  /** One for each request, at its index. */
  outcomes: StartedChild[]
  /** The runs that were started now: their first task. */
  queued: TaskSeed[]
  /** The keys of those that wait to be let in. */
  held: ConcurrencyKey[]
}

/**
 * Starts child runs, each once for its parent and step, and registers the waits of the steps that wait for theirs. A
 * request that comes again finds what the first one did. `nowMs`: Postgres's time, by which the ids of runs are made.
 */
export async function startChildren(
  store: Store,
  requests: readonly ChildRequest[],
  { nowMs }: { nowMs: number },
): Promise<StartedChildren> {
  const queued: TaskSeed[] = []
  const held: ConcurrencyKey[] = []
  const start = async (part: ChildRequest[]): Promise<StartChildRow[]> => {
    const rows = await startPart(store, part, nowMs)
    for (const row of rows) {
      const seed = seedOf(row)
      if (seed === null) continue
      if (row.held_key === null) queued.push(seed)
      else held.push({ workflow: seed.workflow, key: row.held_key })
    }
    return rows
  }
  return { outcomes: await inRounds(requests, start, outcomeOf), queued, held }
}

async function startPart(store: Store, requests: ChildRequest[], nowMs: number): Promise<StartChildRow[]> {
  if (requests.length === 0) return []
  const childIds = newRunIds(requests.length, nowMs)
  const children = requests.map(childOf)
  const rules = await rulesOfStarts(store, children)
  const values = startChildrenValues(
    requests,
    childIds,
    rules.map(({ key }) => key),
  )
  const cancels = rules.flatMap(({ cancelOn }, at) =>
    cancelWaitsOf(childIds[at] ?? '', cancelOn, children[at]?.input ?? null),
  )
  return await withPartitions(
    store,
    childIds,
    async () =>
      await withRetries(
        async () => await startRuns<StartChildRow>(store.hot, startChildrenStatement, values, cancels),
      ),
  )
}

const childOf = ({ command }: ChildRequest): { workflow: string; input: string } =>
  'wait' in command ? command.wait : command

function startChildrenValues(
  requests: readonly ChildRequest[],
  childIds: readonly string[],
  keys: readonly KeyOfStart[],
): unknown[] {
  const children = requests.map(({ workerId, command }) => ({
    ...command,
    workerId,
    child: childOf({ workerId, command }),
    ...('wait' in command
      ? { seen: command.seen, timeoutMs: command.wait.timeout_ms }
      : { seen: 0, timeoutMs: null }),
  }))
  return [
    children.map(({ run_id: runId }) => runId),
    children.map(({ key }) => key),
    children.map(({ epoch }) => epoch),
    children.map(({ workerId }) => workerId),
    children.map(({ seen }) => seen),
    children.map(({ child }) => child.workflow),
    children.map(({ child }) => child.input),
    children.map(({ timeoutMs }) => timeoutMs),
    childIds,
    keys.map((each) => (each.kind === 'key' ? each.key : null)),
    keys.map((each) => (each.kind === 'failed' ? each.reason : null)),
  ]
}

function seedOf({ id: runId, epoch, workflow, queue, lost, input }: StartChildRow): TaskSeed | null {
  if (runId === null || epoch === null || workflow === null || queue === null || lost === null) return null
  return { runId, epoch, workflow, queue, lost, build: null, input }
}

/** Null: another request for this child was first, at the same moment. */
function outcomeOf({ command }: ChildRequest, row: StartChildRow): StartedChild | null {
  const waits = 'wait' in command
  const workflow = waits ? command.wait.workflow : command.workflow
  const asked = describe(waits, workflow)
  // A child that is not kept any more: its workflow is not known, so nothing contradicts.
  const there = describe(row.there_kind === 'run', row.there_workflow ?? workflow)
  const isThere = row.there_kind === 'run' || row.there_child !== null
  if (row.there_kind !== null && row.there_kind !== 'run')
    return replayMismatch(command.key, `a wait of kind ${row.there_kind}`, asked)
  if (isThere && there !== asked) return replayMismatch(command.key, there, asked)
  if (!isThere && row.step_kind !== null)
    return replayMismatch(command.key, `a step of kind ${row.step_kind}`, asked)
  const childRunId = row.there_child ?? row.id
  if (waits && (isThere || row.made === true))
    return { kind: 'registered', status: row.there_status ?? 'open' }
  if (childRunId !== null) return { kind: 'invoked', childRunId }
  if (row.no_workflow && !waits)
    return {
      kind: 'refused',
      code: 'workflow_not_found',
      detail: `there is no workflow ${workflow}: start a worker that has it`,
    }
  return row.too_many === true ? tooManyOpenWaits : null
}

const describe = (waits: boolean, workflow: string): string =>
  waits ? `a wait for a run of ${workflow}` : `a run of ${workflow} that is not waited for`
