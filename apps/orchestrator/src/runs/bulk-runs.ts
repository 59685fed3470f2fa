import { limits, type BulkAction, type BulkRuns, type RunStatus, type WireBulk } from '@headrace/schemas'
import { countRuns, listRunIds, type RunFilter } from '@headrace/store'
import type { ApiContext } from '../context.ts'
import { steerRuns } from './steer-run.ts'

/** Runs of one page: the locks of some ms. */
const PAGE_MAX = 500
/** After so long the answer says where to go on: within the time that callers and proxies wait. */
const BULK_MS_MAX = 5_000

/** The runs to which an action applies. */
const applies: Record<BulkAction, readonly RunStatus[]> = {
  cancel: ['queued', 'running', 'waiting', 'paused'],
  // Of those that are paused, the ones that their code has paused, which would go on by themselves.
  pause: ['queued', 'running', 'waiting', 'paused'],
  resume: ['paused'],
  retry: ['failed', 'cancelled', 'timed_out'],
}

export interface BulkRequest extends Omit<BulkRuns, 'cursor'> {
  /** The last run of the answer before. */
  below: string | null
}

export type BulkOutcome = Omit<WireBulk, 'next_cursor'> & { next: string | null }

/**
 * Does it to all runs that fit, the newest first, page by page, each page a commit: at most 10,000 runs and some seconds;
 * `next`: where to go on. A dry run counts, up to 100,000, those that the real one would go through.
 */
export async function bulkRuns(
  context: Pick<ApiContext, 'store' | 'serverClock' | 'events' | 'clock'>,
  { action, filter, dry_run, below }: BulkRequest,
): Promise<BulkOutcome> {
  const { store, clock } = context
  const runFilter = filterOf(action, filter)
  const outcome: BulkOutcome = { action, dry_run, matched: 0, changed: 0, next: null }
  if (runFilter === null) return outcome
  if (dry_run) return { ...outcome, matched: await countRuns(store, runFilter, limits.bulkCountMax) }
  const until = clock.now() + BULK_MS_MAX
  let last = below
  while (outcome.matched < limits.bulkRunsMax && clock.now() < until) {
    const ids = await listRunIds(store, runFilter, { limit: PAGE_MAX, below: last })
    outcome.matched += ids.length
    outcome.changed += await steerRuns(context, action, ids)
    last = ids.at(-1) ?? last
    if (ids.length < PAGE_MAX) return outcome
  }
  return { ...outcome, next: last }
}

/** Null: the filter and the action have no status in common. */
function filterOf(action: BulkAction, filter: BulkRuns['filter']): RunFilter | null {
  const { workflow, trigger, tag, created_after: createdAfter } = filter
  const asked = filter.status
  const status = applies[action].filter((each) => asked === undefined || asked.includes(each))
  if (status.length === 0) return null
  const colon = tag?.indexOf(':') ?? 0
  return {
    status,
    ...(workflow === undefined ? {} : { workflow }),
    ...(trigger === undefined ? {} : { trigger }),
    ...(tag === undefined ? {} : { tag: { key: tag.slice(0, colon), value: tag.slice(colon + 1) } }),
    ...(createdAfter === undefined ? {} : { createdAfter: Date.parse(createdAfter) }),
    ...(action === 'retry' ? { notRetried: true } : {}),
    ...(action === 'pause' ? { pausable: true } : {}),
  }
}
