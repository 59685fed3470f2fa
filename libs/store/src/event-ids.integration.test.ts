import { createDatabase } from '@headrace/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { hotSettings, urlWithSettings } from './connection.ts'
import { accessesOf, prepare, settle } from './fixtures/plan.ts'
import { openScene, type Scene } from './fixtures/scene.ts'
import {
  enterEventIds,
  type EventIdEntry,
  eventIdStreams,
  type EventIdSweep,
  holdingCursors,
  incarnationsOf,
  isAt,
  recalledEventIds,
  setTriggerStatus,
  sweepEventIds,
  sweptEventIds,
} from './index.ts'
import { enterStatement, readStatement } from './queries/enter-event-ids.ts'
import { deleteStatement, runsPageStatement } from './queries/sweep-event-ids.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs

let url: string
let scene: Scene
let stream: string
let streams = 0
let now: number
beforeAll(async () => {
  url = (await createDatabase()).url
  scene = await openScene(url)
})
afterAll(async () => {
  await scene.close()
})
beforeEach(async () => {
  streams += 1
  stream = `s${streams}`
  now = await scene.store.serverNow()
})

const entryOf = (id: string, changes: Partial<EventIdEntry> = {}): EventIdEntry => ({
  stream,
  source: 'till',
  id,
  incarnation: 1,
  partition: 0,
  sequenceId: 1,
  logTimeMs: now,
  runId: null,
  ...changes,
})
const enter = async (...entries: EventIdEntry[]) => await enterEventIds(scene.store, entries)
const at = (partition: number, sequenceId: number, incarnation = 1) => ({
  incarnation,
  partition,
  sequenceId,
})
const idsThere = async (): Promise<string[]> => {
  const { rows } = await scene.store.general.query<{ id: string }>(
    'select id from event_ids where stream = $1 order by id',
    [stream],
  )
  return rows.map(({ id }) => id)
}
const sweep = async (changes: Partial<EventIdSweep> = {}) =>
  await sweepEventIds(scene.store, {
    stream,
    olderThanMs: now - dayMs,
    cursors: await holdingCursors(scene.store, stream),
    keepMs: dayMs,
    limit: 1_000,
    afterRun: null,
    ...changes,
  })
/** A cursor of a trigger that nobody registered, as the projection's are. */
const cursorAt = async (partition: number, nextOffset: number, status = 'live'): Promise<void> => {
  await scene.row(
    `insert into trigger_cursors (trigger_id, stream, partition, next_offset, version, status) values ('t', $1, $2, $3, 1, $4)
     on conflict (stream, partition, trigger_id) do update set next_offset = excluded.next_offset, status = excluded.status`,
    [stream, partition, nextOffset, status],
  )
}
/** Whether a session of this database waits for a lock. */
const untilOneWaits = async (): Promise<void> => {
  for (;;) {
    const { waiting } = await scene.row(
      `select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
    if (Number(waiting) > 0) return
  }
}

describe('entering', () => {
  test('answers the position of whoever was first, and its own to whoever enters again', async () => {
    expect(await enter(entryOf('a'), entryOf('b', { sequenceId: 2 }))).toEqual([at(0, 1), at(0, 2)])
    const again = [entryOf('a', { partition: 3, sequenceId: 9 }), entryOf('b', { sequenceId: 2 })]
    expect(await enter(...again)).toEqual([at(0, 1), at(0, 2)])
  })

  test('takes an id of another source or stream for another', async () => {
    await enter(entryOf('a'))
    const others = [entryOf('a', { source: 'web' }), entryOf('a', { stream: `${stream}-2` })]
    expect(await enter(...others.map((entry) => ({ ...entry, sequenceId: 7 })))).toEqual([at(0, 7), at(0, 7)])
  })

  test('counts the incarnation as part of the position', async () => {
    await enter(entryOf('a'))
    const [first] = await enter(entryOf('a', { incarnation: 2 }))
    expect(first).toEqual(at(0, 1))
    expect(isAt(first!, entryOf('a', { incarnation: 2 }))).toBe(false)
  })

  test('of one id given twice at once takes the first', async () => {
    expect(await enter(entryOf('a', { sequenceId: 5 }), entryOf('a', { sequenceId: 3 }))).toEqual([
      at(0, 5),
      at(0, 5),
    ])
  })

  test('keeps the run of an event that a run published', async () => {
    const [run] = await scene.startRuns(1)
    await enter(entryOf(`${run}/ask`, { source: 'headrace:run', runId: run! }))
    expect(await scene.row('select run_id from event_ids where stream = $1', [stream])).toEqual({
      run_id: run,
    })
  })

  describe.each([
    ['commits', 'commit', at(0, 1)],
    ['rolls back', 'rollback', at(4, 4)],
  ])('while another session holds the id, which %s', (_, end, winner) => {
    test('waits, and then exactly one has it', async () => {
      const other = await scene.store.general.connect()
      await other.query('begin')
      await other.query(
        `insert into event_ids (stream, source, id, partition, sequence_id, log_time) values ($1, 'till', 'a', 0, 1, now())`,
        [stream],
      )
      const entered = enter(entryOf('a', { partition: 4, sequenceId: 4 }))
      await untilOneWaits()
      await other.query(end)
      other.release()
      expect(await entered).toEqual([winner])
      // Whoever asks later is answered the same.
      expect(await enter(entryOf('a', { partition: 8 }))).toEqual([winner])
    })
  })

  test('one statement would miss the row it waited for: why reading is a statement of its own', async () => {
    const other = await scene.store.general.connect()
    await other.query('begin')
    await other.query(
      `insert into event_ids (stream, source, id, partition, sequence_id, log_time) values ($1, 'till', 'a', 0, 1, now())`,
      [stream],
    )
    const inOne = scene.store.general.query(
      `with i as (insert into event_ids (stream, source, id, partition, sequence_id, log_time) values ($1, 'till', 'a', 4, 4, now())
         on conflict do nothing returning partition)
       select partition from i union all select partition from event_ids where stream = $1 and id = 'a'`,
      [stream],
    )
    await untilOneWaits()
    await other.query('commit')
    other.release()
    expect((await inOne).rows).toEqual([])
  })

  test('many sessions with the same ids in other orders: one position each, and nobody fails', async () => {
    const ids = Array.from({ length: 200 }, (_, n) => `id${n}`)
    const answers = await Promise.all(
      Array.from({ length: 8 }, async (_, partition) => {
        const order = partition % 2 === 0 ? ids : ids.toReversed()
        const positions = await enter(...order.map((id) => entryOf(id, { partition })))
        return new Map(order.map((id, index) => [id, positions[index]!.partition]))
      }),
    )
    for (const id of ids) expect(new Set(answers.map((answer) => answer.get(id))).size).toBe(1)
  })
})

describe('the sweep', () => {
  test('takes what is older, by batches, and leaves the rest', async () => {
    for (let n = 0; n < 5; n += 1) await enter(entryOf(`old${n}`, { logTimeMs: now - dayMs - 1 - n }))
    await enter(entryOf('young', { logTimeMs: now - dayMs }))
    expect(await sweep({ limit: 3 })).toEqual({ kind: 'swept', deleted: 3, more: true, afterRun: null })
    expect(await sweep({ limit: 3 })).toEqual({ kind: 'swept', deleted: 2, more: false, afterRun: null })
    expect(await idsThere()).toEqual(['young'])
  })

  test('finds every stream that has ids', async () => {
    await enter(entryOf('a'), entryOf('a', { stream: `${stream}-x` }), entryOf('b'))
    const found = await eventIdStreams(scene.store)
    expect(found).toContain(stream)
    expect(found).toContain(`${stream}-x`)
    expect(new Set(found).size).toBe(found.length)
  })

  test('keeps the rows of a run for as long as the run is there, however old they are', async () => {
    const runs = await scene.startRuns(3)
    for (const run of runs)
      for (const key of ['a', 'b'])
        await enter(
          entryOf(`${run}/${key}`, { source: 'headrace:run', runId: run, logTimeMs: now - 30 * dayMs }),
        )
    const [gone, , goneToo] = runs
    await scene.row('delete from runs where id = any ($1::uuid[])', [[gone, goneToo]])
    expect(await sweep({ limit: 2 })).toEqual({ kind: 'swept', deleted: 2, more: false, afterRun: runs[1] })
    expect(await sweep({ limit: 2, afterRun: runs[1]! })).toMatchObject({ deleted: 2, afterRun: null })
    expect(await idsThere()).toEqual([`${runs[1]}/a`, `${runs[1]}/b`])
  })

  test('keeps a young row of a run that is gone, or never was', async () => {
    const runId = '00000000-0000-7000-8000-000000000001'
    await enter(entryOf('young', { runId }), entryOf('old', { runId, logTimeMs: now - 2 * dayMs }))
    expect(await sweep()).toMatchObject({ deleted: 1 })
    expect(await idsThere()).toEqual(['young'])
  })

  test('is held by a cursor that went back, or came, since its bound was worked out; not by one that is not followed', async () => {
    await enter(entryOf('old', { logTimeMs: now - 2 * dayMs }))
    await cursorAt(0, 100)
    const cursors = await holdingCursors(scene.store, stream)
    expect(cursors).toEqual([{ partition: 0, nextOffset: 100 }])
    await cursorAt(0, 99)
    expect(await sweep({ cursors })).toEqual({ kind: 'held' })
    await cursorAt(0, 101)
    await cursorAt(1, 500)
    expect(await sweep({ cursors })).toEqual({ kind: 'held' })
    expect(await sweptEventIds(scene.store, stream)).toMatchObject({ sweptToMs: 0 })
    await cursorAt(1, 500, 'paused')
    expect(await holdingCursors(scene.store, stream)).toEqual([{ partition: 0, nextOffset: 101 }])
    expect(await sweep({ cursors })).toMatchObject({ kind: 'swept', deleted: 1 })
  })

  test('is not held by a retired trigger, whose cursors stand as they were', async () => {
    await scene.row(`insert into triggers (id, workflow, app, build, queue, pattern, stream, window_size, window_max_bytes, status, retired_at)
      values ('t', 'w', 'a', 'b', 'q', 'x/y', 'x', 1, 1, 'retired', now())`)
    await cursorAt(0, 5)
    expect(await holdingCursors(scene.store, stream)).toEqual([])
    await scene.row(`delete from triggers where id = 't'`)
    expect(await holdingCursors(scene.store, stream)).toEqual([{ partition: 0, nextOffset: 5 }])
  })

  test('is held by a gap of the projection that is still to be read', async () => {
    await enter(entryOf('old', { logTimeMs: now - 3 * dayMs }))
    const waited = async (hoursAgo: number): Promise<void> =>
      void (await scene.row(
        `insert into waited_streams (stream, projected_from) values ($1, to_timestamp($2::float8 / 1000))
         on conflict (stream) do update set projected_from = excluded.projected_from`,
        [stream, now - hoursAgo * hourMs],
      ))
    await waited(1)
    await scene.row(
      `insert into projections (stream, partition, projected_from, from_offset) values ($1, 0, to_timestamp($2::float8 / 1000), 7)`,
      [stream, now],
    )
    expect(await sweep({ olderThanMs: now - dayMs })).toEqual({ kind: 'held' })
    expect(await sweep({ olderThanMs: now - 2 * dayMs })).toMatchObject({ deleted: 1 })
  })

  test('says how far it went, once it is over, and only when something went', async () => {
    expect(await sweptEventIds(scene.store, stream)).toMatchObject({ sweptToMs: 0 })
    await enter(entryOf('young'))
    await sweep()
    expect(await sweptEventIds(scene.store, stream)).toMatchObject({ sweptToMs: 0 })
    await enter(entryOf('old', { logTimeMs: now - 2 * dayMs }))
    const blocker = await scene.store.general.connect()
    await blocker.query('begin')
    await blocker.query(`select from event_ids where stream = $1 and id = 'old' for key share`, [stream])
    const sweeping = sweep()
    await untilOneWaits()
    let answered = false
    const asked = sweptEventIds(scene.store, stream).then((swept) => {
      answered = true
      return swept
    })
    // Two wait now: the sweep for the row, and who asks for the sweep.
    for (;;) {
      const { waiting } = await scene.row(
        `select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
      if (Number(waiting) === 2) break
    }
    expect(answered).toBe(false)
    await blocker.query('rollback')
    blocker.release()
    expect(await sweeping).toMatchObject({ deleted: 1 })
    expect(Math.round((await asked).sweptToMs)).toBe(Math.round(now - dayMs))
  })

  test('a trigger that is resumed while its stream is swept either holds the sweep or learns of it', async () => {
    await scene.row(`update trigger_cursors set next_offset = 3 where trigger_id = 'on_order'`)
    await setTriggerStatus(scene.store, 'on_order', 'paused')
    const orders = { stream: 'orders', cursors: await holdingCursors(scene.store, 'orders') }
    expect(orders.cursors).toEqual([])
    await enter(entryOf('old', { stream: 'orders', logTimeMs: now - 2 * dayMs }))
    await setTriggerStatus(scene.store, 'on_order', 'live')
    expect(await sweep(orders)).toEqual({ kind: 'held' })
    expect(await sweptEventIds(scene.store, 'orders')).toMatchObject({ sweptToMs: 0 })
  })
})

describe('ids that were entered again', () => {
  test('count as known from then on, unless something was swept or said meanwhile', async () => {
    await enter(entryOf('old', { logTimeMs: now - 2 * dayMs }))
    await sweep()
    const { revision } = await sweptEventIds(scene.store, stream)
    const fromMs = Math.round(now) - 5 * dayMs
    expect(await recalledEventIds(scene.store, { stream, revision: revision - 1, fromMs })).toBe(false)
    expect(await recalledEventIds(scene.store, { stream, revision, fromMs })).toBe(true)
    expect(await sweptEventIds(scene.store, stream)).toMatchObject({ sweptToMs: fromMs })
    expect(await recalledEventIds(scene.store, { stream, revision, fromMs })).toBe(false)
  })

  test('take the incarnation that the followed cursors have', async () => {
    await cursorAt(0, 1)
    await cursorAt(1, 1, 'stopped')
    await scene.row('update trigger_cursors set incarnation = 2 + partition where stream = $1', [stream])
    expect(await incarnationsOf(scene.store, stream)).toEqual(new Map([[0, 2], [1, 3]])) // prettier-ignore
  })
})

describe.each(['auto', 'force_generic_plan'])('plans, with plan_cache_mode %s', (mode) => {
  const batch = 300
  const ids = Array.from({ length: batch }, (_, n) => `id${n}`)
  const of = (value: string | number | null) => ids.map(() => value)
  const reading = [of('big'), of('till'), ids]
  const entering = [...reading, of(1), of(0), of(1), of(0), of(null)]

  async function wrong(client: Client): Promise<unknown[]> {
    const accesses = await accessesOf(client, readStatement, reading)
    const ofIds = accesses.filter(({ relation }) => relation === 'event_ids')
    // The insert reaches its table by the arbiter index, which is no scan.
    const others = (await accessesOf(client, enterStatement, entering)).filter(
      ({ relation }) => relation === 'event_ids',
    )
    if (ofIds.length === 0) return ['reaches nothing']
    return [
      ...ofIds.filter((each) => each.index !== 'event_ids_pkey' || !each.bounded || each.joins.length > 0),
      ...others,
    ]
  }
  async function session(): Promise<Client> {
    const client = new Client({
      connectionString: urlWithSettings(url, [...hotSettings, `plan_cache_mode=${mode}`]),
    })
    await client.connect()
    await prepare(client, readStatement)
    await prepare(client, enterStatement)
    return client
  }

  test('ids are found by their key alone, at any size, analysed or not, also by who prepared early', async () => {
    const { general } = scene.store
    await general.query(`alter table event_ids set (autovacuum_enabled = off)`)
    await general.query('truncate event_ids')
    const early = await session()
    await settle(early, readStatement, reading)
    const found: unknown[] = []
    for (const size of [0, 1_000, 100_000]) {
      await general.query(
        `insert into event_ids (stream, source, id, partition, sequence_id, log_time)
         select case when n % 10 = 0 then 'other' else 'big' end, 'till', 'id' || n, 0, n, now() from generate_series(1, $1::int) n
         on conflict do nothing`,
        [size],
      )
      for (const analysed of [false, true]) {
        if (analysed) await general.query('analyze event_ids')
        const late = await session()
        for (const client of [early, late])
          for (const each of await wrong(client)) found.push({ size, analysed, each })
        await late.end()
      }
    }
    await early.end()
    expect(found).toEqual([])
  })
})

test('the sweep of a large table goes by its indexes: to what is old, and to the rows of runs', async () => {
  const { general } = scene.store
  await general.query('truncate event_ids')
  await general.query(
    `insert into event_ids (stream, source, id, partition, sequence_id, log_time, run_id)
     select 'big', 'till', 'id' || n, 0, n, now() - make_interval(secs => n), case when n % 2 = 0 then gen_random_uuid() end
     from generate_series(1, 100000) n`,
  )
  await general.query('analyze event_ids')
  const client = new Client({ connectionString: url })
  await client.connect()
  const found: (string | null)[] = []
  for (const [statement, values] of [
    [deleteStatement, ['big', now - dayMs, 1_000]],
    [runsPageStatement, ['big', '00000000-0000-0000-0000-000000000000', 1_000]],
  ] as const) {
    await prepare(client, statement)
    for (const { relation, index, node } of await accessesOf(client, statement, [...values]))
      if (relation === 'event_ids' && node !== 'Tid Scan') found.push(index)
  }
  await client.end()
  expect(found).toEqual(['event_ids_sweep', 'event_ids_run'])
})
