import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import type { WaitRef } from './wait-ref.ts'

/**
 * Topic by topic, each by an index of open waits alone: a page ends in the middle of a topic, and the next goes on there,
 * by the index too, or the pages of a topic with 100,000 waits would read each wait before them again.
 */
export const openWaitsStatement = statement(
  'open_waits_on',
  `select t.topic, w.run_id, w.key, w.kind
   from (select topic from unnest($1::text[]) u(topic) where $2::text is null or topic >= $2 order by topic) t
   cross join lateral (
     select w.run_id, w.key, w.kind from waits w
     where w.topic = t.topic and w.status = 'open'
       and (w.run_id, w.key) > (case t.topic when $2 then $3::uuid else '00000000-0000-0000-0000-000000000000' end,
         case t.topic when $2 then $4::text else '' end)
     order by w.topic, w.run_id, w.key limit $5) w
   order by t.topic, w.run_id, w.key limit $5`,
)

/** An open wait and the topic of its event. */
export interface OpenWait extends WaitRef {
  topic: string
  kind: 'event' | 'cancel'
}

/**
 * The open waits for events of these topics, page by page: `after` is the last one of the page before. A wait that is opened
 * meanwhile may be missed: it was committed later than what the caller has just committed, and looks for itself.
 */
export async function openWaitsOn(
  store: Store,
  topics: readonly string[],
  after: OpenWait | null,
  limit: number,
): Promise<OpenWait[]> {
  if (topics.length === 0) return []
  const rows = await withRetries(
    async () =>
      await run<{ topic: string; run_id: string; key: string; kind: OpenWait['kind'] }>(
        store.hot,
        openWaitsStatement,
        [[...new Set(topics)], after?.topic ?? null, after?.runId ?? null, after?.key ?? null, limit],
      ),
  )
  return rows.map(({ topic, run_id: runId, key, kind }) => ({ topic, runId, key, kind }))
}

/**
 * Opens waits whose stream is complete from their `since` on. They have not looked for their answer since: `checked_at`
 * is null again, so that they do, or are swept. In the order in which answers lock them; who holds one is timing it out.
 */
export const openPendingStatement = statement(
  'open_pending_waits',
  `with own as materialized (
     select w.run_id, w.key from (
       select w.run_id, w.key from waited_streams s
       cross join lateral (
         select w.run_id, w.key from waits w
         where w.stream = s.stream and w.status = 'pending' and w.since >= s.open_from limit $1) w
       order by w.run_id, w.key limit $1) u
     cross join lateral (
       select w.run_id, w.key from waits w
       where w.run_id = u.run_id and w.key = u.key and w.status || '' = 'pending'
       for no key update skip locked) w)
   update waits w set status = 'open', checked_at = null
   from own where w.run_id = any (array[own.run_id]) and w.key = any (array[own.key])
   returning w.run_id, w.key, w.kind, w.filter is not null as filtered`,
)

/** Waits of one statement, which is one commit. */
const openedMax = 1_000

/** A wait that was opened just now. */
export interface OpenedWait extends WaitRef {
  /** It has a filter, which its look for an answer may have to try on a day of events. */
  filtered: boolean
}

/**
 * Opens every pending wait that may be. Who calls it lets those that come back look for their answer (`answerFromResponses`);
 * those that cancel are found by their own look (`uncheckedCancels`).
 */
export async function openPendingWaits(store: Store): Promise<OpenedWait[]> {
  const opened: OpenedWait[] = []
  for (;;) {
    const rows = await withRetries(
      async () =>
        await run<{ run_id: string; key: string; kind: OpenWait['kind']; filtered: boolean }>(
          store.hot,
          openPendingStatement,
          [openedMax],
        ),
    )
    for (const { run_id: runId, key, kind, filtered } of rows)
      if (kind === 'event') opened.push({ runId, key, filtered })
    if (rows.length < openedMax) return opened
  }
}
