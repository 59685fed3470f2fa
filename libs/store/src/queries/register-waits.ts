import { limits, streamOf, type WaitCommand } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run } from '../statement.ts'
import { type RegisterRow, registerStatement } from './register-waits-statement.ts'
import { inRounds, type NotTaken, replayMismatch, tooManyOpenWaits } from './wait-rounds.ts'

/** A wait that is registered alone; one for a child run is with its child (start-children). */
export type LoneWaitCommand = WaitCommand & { wait: Exclude<WaitCommand['wait'], { kind: 'run' }> }

/** A wait as a worker's command asks for it. Its filter has been compiled: an invalid one is refused before. */
export interface WaitRequest {
  workerId: string
  command: LoneWaitCommand
}

export type WaitRegistration =
  /** It is there, now or long since. Now, it may look back less far than was asked for. */
  { kind: 'registered'; status: NonNullable<RegisterRow['status']>; lookbackTruncated?: true } | NotTaken

/**
 * Registers waits of any number of workers, and answers each at its index. A wait that is there stays as it is. Whoever
 * registers goes on to let the new ones look for their answer (`answerFromResponses`): nobody else may have it.
 */
export async function registerWaits(
  store: Store,
  requests: WaitRequest[],
  { lookbackMs }: { lookbackMs: number },
): Promise<WaitRegistration[]> {
  const register = async (part: WaitRequest[]): Promise<RegisterRow[]> =>
    part.length === 0
      ? []
      : await withRetries(
          async () => await run<RegisterRow>(store.hot, registerStatement, registerValues(part, lookbackMs)),
        )
  return await inRounds(requests, register, outcomeOf)
}

export function registerValues(requests: readonly WaitRequest[], lookbackMs: number): unknown[] {
  const waits = requests.map((request) => ({ ...request, ...termsOf(request.command) }))
  const runIds = waits.map(({ command }) => command.run_id)
  const sorted = runIds.map((id) => id.toLowerCase()).toSorted()
  return [
    runIds,
    waits.map(({ command }) => command.key),
    waits.map(({ command }) => command.epoch),
    waits.map(({ workerId }) => workerId),
    waits.map(({ command }) => command.seen),
    waits.map(({ command }) => command.wait.kind),
    waits.map(({ topic }) => topic),
    waits.map(({ topic }) => (topic === null ? null : streamOf(topic))),
    waits.map(({ filter }) => filter),
    waits.map(({ mode }) => mode),
    waits.map(({ modeMs }) => modeMs),
    waits.map(({ timeoutMs }) => timeoutMs),
    lookbackMs,
    sorted[0] ?? null,
    sorted.at(-1) ?? null,
  ]
}

interface Terms {
  topic: string | null
  filter: string | null
  mode: 'run' | 'at' | 'from_now'
  modeMs: number | null
  timeoutMs: number | null
}

function termsOf({ wait }: LoneWaitCommand): Terms {
  if (wait.kind === 'resume')
    return { topic: null, filter: null, mode: 'from_now', modeMs: wait.timeout_ms, timeoutMs: null }
  if (wait.kind === 'time') {
    const { due } = wait
    const none = { topic: null, filter: null, timeoutMs: null }
    return 'at_ms' in due
      ? { ...none, mode: 'at', modeMs: due.at_ms }
      : { ...none, mode: 'from_now', modeMs: due.after_ms }
  }
  const { topic, filter, since, timeout_ms: timeoutMs } = wait
  if (since === 'run') return { topic, filter, timeoutMs, mode: 'run', modeMs: null }
  return 'at_ms' in since
    ? { topic, filter, timeoutMs, mode: 'at', modeMs: since.at_ms }
    : { topic, filter, timeoutMs, mode: 'from_now', modeMs: since.ago_ms }
}

function outcomeOf({ command }: WaitRequest, row: RegisterRow): WaitRegistration | null {
  const { topic, filter } = termsOf(command)
  const asked = describe({ kind: command.wait.kind, topic, filter })
  if (row.step_kind !== null) return replayMismatch(command.key, `a step of kind ${row.step_kind}`, asked)
  if (row.there_kind !== null) {
    const there = describe({ kind: row.there_kind, topic: row.there_topic, filter: row.there_filter })
    if (there !== asked) return replayMismatch(command.key, there, asked)
  }
  if (row.too_long === true)
    return {
      kind: 'refused',
      code: 'wait_too_long',
      detail: `the wait ${command.key} would last longer than ${limits.waitMsMax / 86_400_000} days, the most there is`,
    }
  if (row.too_many === true) return tooManyOpenWaits
  if (row.status === null) return null
  return {
    kind: 'registered',
    status: row.status,
    ...(row.lookback_truncated ? { lookbackTruncated: true } : {}),
  }
}

function describe(wait: { kind: string; topic: string | null; filter: string | null }): string {
  const topic = wait.topic === null ? '' : ` on ${wait.topic}`
  return `a wait of kind ${wait.kind}${topic}${wait.filter === null ? '' : ` if ${wait.filter}`}`
}
