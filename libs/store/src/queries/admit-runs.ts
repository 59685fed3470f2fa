import { checkpoint, crashPoint } from '@headrace/core'
import type { Store } from '../connection.ts'
import { withRetries } from '../fault.ts'
import { run, statement, transaction } from '../statement.ts'
import type { ConcurrencyKey } from './concurrency-keys.ts'
import { type SeedRow, seedColumns, type TaskSeed, toTaskSeed } from './task-seed.ts'

/**
 * One admission at a time for each key, by locks of the transaction on a number made of it, in the order of the numbers. Keys
 * that share one by chance wait for each other, no more. Not on rows of a table: there would be one for each key that was
 * ever seen, and whoever removed one would have to make sure that nobody waits for it.
 */
export const lockKeysStatement = statement(
  'lock_concurrency_keys',
  `select pg_advisory_xact_lock(k.lock)
   from (select distinct hashtextextended(concat(workflow, chr(10), key), 0) as lock
         from unnest($1::text[], $2::text[]) u(workflow, key) order by 1) k`,
)

/** Those of a key's runs that are under way: admitted and not ended, parked and paused ones too. As the index says it. */
const admitted = `r.concurrency_key is not null and r.finished_at is null and coalesce(r.blocked_reason, '') not in ('concurrency', 'delayed')`
const held = `r.status = 'queued' and r.blocked_reason = 'concurrency'`
/** Of a workflow without a rule, or without a row: nothing is held for ever because a deploy took its rule away. */
const limitOf = (workflow: string): string =>
  `coalesce((select w.concurrency_limit from workflows w where w.id = ${workflow}), 2147483647)`

/** Runs of one key that one statement lets in: it is asked again where there may be more. */
const admittedAtOnceMax = 200

/**
 * Lets the next runs of some keys in. Its snapshot is younger than the locks, so it counts all that was admitted before it;
 * runs are admitted here alone, so nobody exceeds the limit meanwhile. What ends meanwhile is not seen: who ends a run asks
 * for its key afterwards, and waits for the lock.
 *
 * Their order is that of their windows. They are locked in the order of ids, as everywhere, and looked at again: one that was
 * cancelled or paused meanwhile is left, and its place is taken by the next look.
 */
export const admitStatement = statement(
  'admit_runs',
  `with k as materialized (
     select u.workflow, u.key, ${limitOf('u.workflow')} as most
     from (select distinct workflow, key from unnest($1::text[], $2::text[]) u(workflow, key)) u),
   next as materialized (
     select n.id
     from k
     cross join lateral (
       select k.most - count(*) as room
       from (select 1 from runs r where r.workflow = k.workflow and r.concurrency_key = k.key and ${admitted} limit k.most) r) c
     cross join lateral (
       select r.id from runs r where r.workflow = k.workflow and r.concurrency_key = k.key and ${held}
       order by r.created_at, r.stream, r.partition, r.first_offset, r.id
       limit least(c.room, ${admittedAtOnceMax})) n),
   own as materialized (
     select r.id from (select id from next order by id) u
     cross join lateral (
       select r.id from runs r
       where r.id = u.id and r.status || '' = 'queued' and r.blocked_reason || '' = 'concurrency'
       for no key update) r),
   let_in as (
     update runs r set blocked_reason = null, queued_at = now()
     from own where r.id = any (array[own.id])
     returning ${seedColumns}, r.concurrency_key, r.created_at, r.stream, r.partition, r.first_offset)
   select id, epoch, workflow, queue, lost, input, concurrency_key from let_in
   order by created_at, stream, partition, first_offset, id`,
)

export interface Admitted {
  /** The next tasks of the runs that were let in, those of a key in their order. */
  queued: TaskSeed[]
  /** Keys of which more may be let in at once. */
  more: ConcurrencyKey[]
}

/**
 * Lets in as many runs of these keys as there is room for: a transaction of its own, after the commit that made the room or
 * brought the runs. May be asked for any key at any time, by any number of instances.
 */
export async function admitRuns(store: Store, keys: readonly ConcurrencyKey[]): Promise<Admitted> {
  if (keys.length === 0) return { queued: [], more: [] }
  const values = [keys.map(({ workflow }) => workflow), keys.map(({ key }) => key)]
  const rows = await withRetries(
    async () =>
      await transaction(store.hot, async (client) => {
        await run(client, lockKeysStatement, values)
        const letIn = await run<SeedRow & { concurrency_key: string }>(client, admitStatement, values)
        crashPoint('admit.before-commit')
        const waits = checkpoint('admit.before-commit')
        if (waits) await waits
        return letIn
      }),
  )
  const byKey = Map.groupBy(rows, (row) => JSON.stringify([row.workflow, row.concurrency_key]))
  const more = keys.filter(
    ({ workflow, key }) => byKey.get(JSON.stringify([workflow, key]))?.length === admittedAtOnceMax,
  )
  return { queued: rows.map(toTaskSeed), more }
}

/**
 * Keys with held runs, from one on, and whether they have room. Each step of the recursion is a look for the next key in the
 * index of held runs, so it does not matter how many runs a key holds.
 */
export const heldKeysStatement = statement(
  'held_keys',
  `with recursive k as (
     (select r.workflow, r.concurrency_key as key from runs r
      where ${held} and (r.workflow, r.concurrency_key) > ($1::text, $2::text)
      order by r.workflow, r.concurrency_key limit 1)
     union all
     select n.workflow, n.key from k
     cross join lateral (
       select r.workflow, r.concurrency_key as key from runs r
       where ${held} and (r.workflow, r.concurrency_key) > (k.workflow, k.key)
       order by r.workflow, r.concurrency_key limit 1) n)
   select k.workflow, k.key, c.admitted < w.most as room
   from (select * from k limit $3) k
   cross join lateral (select ${limitOf('k.workflow')} as most) w
   cross join lateral (
     select count(*) as admitted
     from (select 1 from runs r where r.workflow = k.workflow and r.concurrency_key = k.key and ${admitted} limit w.most) r) c`,
)

/**
 * What a death between a commit and its admission left behind, a pause, or a deploy that raised a limit: keys that hold runs
 * and have room, of the next `limit` keys from `after` on. `next`: where to go on; null: there are no more.
 */
export async function keysWithRoom(
  store: Store,
  { after, limit }: { after: ConcurrencyKey | null; limit: number },
): Promise<{ keys: ConcurrencyKey[]; next: ConcurrencyKey | null }> {
  const rows = await run<ConcurrencyKey & { room: boolean }>(store.hot, heldKeysStatement, [
    after?.workflow ?? '',
    after?.key ?? '',
    limit,
  ])
  const keys = rows.map(({ workflow, key }) => ({ workflow, key }))
  return {
    keys: keys.filter((_, index) => rows[index]?.room),
    next: keys.length < limit ? null : (keys.at(-1) ?? null),
  }
}
