import {
  answerKinds,
  type Command,
  type CommandReply,
  type CompleteCommand,
  type FailCommand,
  limits,
  type PauseCommand,
  type ReleaseCommand,
  type StepCommand,
  type SuspendCommand,
} from '@headrace/schemas'
import type { Ending } from './commands-statement.ts'

/** A command of a worker on a run in its hands, as it came over the wire. */
export interface WorkerCommand {
  workerId: string
  command: Extract<
    Command,
    StepCommand | CompleteCommand | FailCommand | ReleaseCommand | PauseCommand | SuspendCommand
  >
}

interface PlacedStep {
  index: number
  step: StepCommand
}
interface PlacedEnding {
  index: number
  ending: Ending
  /** The output, the error, or the trace context that its worker leaves. */
  payload: string | null
  /** Of a suspend: the wake that its worker has observed. */
  seen: number | null
}

/** The commands of one worker on one run at one epoch: what stands or falls together. */
export interface CommandGroup {
  runId: string
  epoch: number
  workerId: string
  steps: PlacedStep[]
  ending: PlacedEnding | null
  /** Set once known: the run was in this worker's hands. */
  held: boolean
}

export interface CommandBatch {
  groups: CommandGroup[]
  /** Answered already, by index. */
  refused: Map<number, CommandReply>
  /** Doubles within the batch: answered by what is stored afterwards, as resends are. */
  resends: { index: number; item: WorkerCommand; group: CommandGroup }[]
}

const answers = new Set<string>(answerKinds)
const utf8Bytes = (text: string | null): number => (text === null ? 0 : Buffer.byteLength(text))

/** Why a step cannot be taken at all; null when it can. */
function stepFault(step: StepCommand): { code: string; detail: string } | null {
  if (answers.has(step.step_kind))
    return { code: 'invalid_field', detail: `a worker does not answer its own waits (${step.step_kind})` }
  if (step.n >= limits.stepsPerRunMax)
    return { code: 'too_many_steps', detail: `a run has at most ${limits.stepsPerRunMax} steps` }
  const bytes = utf8Bytes(step.output) + utf8Bytes(step.error)
  if (bytes > limits.stepOutputBytesMax)
    return {
      code: 'step_output_too_large',
      detail: `the result of step ${step.key} has ${bytes} bytes, the most is ${limits.stepOutputBytesMax}`,
    }
  return null
}

/** A complete is built on its steps: where one of them is refused, so is the complete. */
const refusedWithStep: CommandReply = {
  kind: 'refused',
  code: 'step_refused',
  detail: 'a step that came with this command was refused',
}

/** Sorts commands into groups, and sets aside what needs no statement. */
export function groupCommands(items: WorkerCommand[]): CommandBatch {
  const groups = new Groups()
  const batch: CommandBatch = { groups: [], refused: new Map(), resends: [] }
  const failedGroups = new Set<CommandGroup>()
  for (const [index, item] of items.entries()) {
    const { command } = item
    const group = groups.of(item)
    if (command.kind === 'step') {
      const fault = stepFault(command)
      if (fault) {
        batch.refused.set(index, { kind: 'refused', ...fault })
        failedGroups.add(group)
      } else if (groups.isDouble(group, command)) batch.resends.push({ index, item, group })
      else group.steps.push({ index, step: command })
    } else if (group.ending) batch.resends.push({ index, item, group })
    else group.ending = { index, ...endingOf(command) }
  }
  for (const group of failedGroups) refuseComplete(group, batch.refused)
  batch.groups = groups.all.filter((group) => group.steps.length > 0 || group.ending)
  return batch
}

/** Up to here a look at each is quicker than a set of them. */
const stepsLookedThrough = 8

/** Nearly every run of a batch has one group, of one step: nothing is built to look them up by but the run's id. */
class Groups {
  readonly all: CommandGroup[] = []
  readonly #ofRun = new Map<string, CommandGroup[]>()
  readonly #keys = new Map<CommandGroup, Set<string>>()

  of({ workerId, command: { run_id: runId, epoch } }: WorkerCommand): CommandGroup {
    const same = this.#ofRun.get(runId)
    const known = same?.find((group) => group.epoch === epoch && group.workerId === workerId)
    if (known) return known
    const group: CommandGroup = { runId, epoch, workerId, steps: [], ending: null, held: false }
    this.all.push(group)
    if (same) same.push(group)
    else this.#ofRun.set(runId, [group])
    return group
  }

  /** Told of every step, in order. */
  isDouble(group: CommandGroup, { key }: StepCommand): boolean {
    if (group.steps.length < stepsLookedThrough) return group.steps.some(({ step }) => step.key === key)
    const keys = this.#keys.get(group) ?? new Set(group.steps.map(({ step }) => step.key))
    this.#keys.set(group, keys)
    const double = keys.has(key)
    keys.add(key)
    return double
  }
}

/** Takes the complete, if there is one, out of a group of which a step was refused. */
export function refuseComplete(group: CommandGroup, refused: Map<number, CommandReply>): void {
  if (group.ending?.ending !== 'complete') return
  refused.set(group.ending.index, refusedWithStep)
  group.ending = null
}

function endingOf(
  command: CompleteCommand | FailCommand | ReleaseCommand | PauseCommand | SuspendCommand,
): Omit<PlacedEnding, 'index'> {
  switch (command.kind) {
    case 'suspend':
      return { ending: 'suspend', payload: command.traceparent ?? null, seen: command.seen }
    case 'complete':
      return { ending: 'complete', payload: command.output, seen: null }
    case 'fail':
      return { ending: 'fail', payload: command.error, seen: null }
    case 'pause':
      return { ending: command.reason, payload: command.error, seen: null }
    case 'release':
      break
  }
  return { ending: 'release', payload: command.traceparent ?? null, seen: null }
}
