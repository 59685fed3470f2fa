import { type Clock, createDuty, type Duty, type Logger, type Metrics } from '@headrace/service'
import { type CursorRow, cursorsOfTriggers, listTriggers, type Store } from '@headrace/store'
import type { EndOffsets } from './end-offsets.ts'
import type { RetentionMargins } from './retention-margin.ts'

export interface TriggerGaugesOptions {
  store: Store
  endOffsets: EndOffsets
  margins: RetentionMargins
  log: Logger
  clock: Clock
  metrics: Metrics
}

/** Margins are hours: a look a minute, of which Kafka is asked at the most 2 s. */
const LOOK_EVERY_MS = 60_000

/**
 * Gauges of where cursors stand, also of triggers that nobody follows just now: the trigger service knows its own lanes
 * only. Every instance shows the same, so they are not to be summed over instances.
 */
export function triggerGauges({ store, endOffsets, margins, ...shared }: TriggerGaugesOptions): Duty {
  const { metrics } = shared
  const labels = ['trigger', 'stream'] as const
  const margin = metrics.gauge({
    name: 'trigger_retention_margin_seconds',
    help: 'How long retention leaves what a trigger has not seen, of the worst partition; absent where nothing waits, or it is kept for ever.',
    labels,
  })
  const stopped = metrics.gauge({
    name: 'trigger_stopped_partitions',
    help: 'Partitions on which a trigger is stopped until somebody resets it.',
    labels,
  })

  async function behind(cursors: readonly CursorRow[]): Promise<CursorRow[]> {
    const streams = [...new Set(cursors.map(({ stream }) => stream))]
    const ends = new Map(
      await Promise.all(streams.map(async (stream) => [stream, await endOffsets.of(stream)] as const)),
    )
    return cursors.filter(
      ({ stream, partition, nextOffset }) => nextOffset < (ends.get(stream)?.get(partition) ?? 0),
    )
  }

  async function look(): Promise<void> {
    const triggers = (await listTriggers(store)).filter(({ status }) => status !== 'retired')
    const cursors = await cursorsOfTriggers(
      store,
      triggers.map(({ id }) => id),
    )
    const late = await behind(cursors)
    const left = await margins.of(late.map((cursor) => ({ ...cursor, nextTs: cursor.open?.since ?? null })))
    // What is not so any more must not keep its last value.
    margin.reset()
    stopped.reset()
    for (const { triggerId: trigger, stream, status } of cursors)
      stopped.inc({ trigger, stream }, status === 'stopped' ? 1 : 0)
    for (const [name, ms] of worst(late, left)) margin.set(name, ms / 1_000)
  }

  return createDuty({ name: 'triggers.look', everyMs: LOOK_EVERY_MS, runOnce: look, ...shared })
}

/** Of each trigger and stream the smallest margin that is known. */
function worst(
  cursors: readonly CursorRow[],
  margins: readonly (number | null)[],
): Map<{ trigger: string; stream: string }, number> {
  const found = new Map<string, { name: { trigger: string; stream: string }; ms: number }>()
  for (const [at, { triggerId: trigger, stream }] of cursors.entries()) {
    const ms = margins[at] ?? null
    const key = `${stream}/${trigger}`
    const known = found.get(key)
    if (ms !== null && ms < (known?.ms ?? Infinity)) found.set(key, { name: { trigger, stream }, ms })
  }
  return new Map([...found.values()].map(({ name, ms }) => [name, ms]))
}
