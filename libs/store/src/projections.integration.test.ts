import { createDatabase, eventually } from '@headrace/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Store } from './connection.ts'
import { loadCursors } from './queries/cursors.ts'
import {
  createProjections,
  extendProjection,
  listProjectionGaps,
  listWaitedStreams,
  type NewProjection,
  projectionTriggerId,
  projectionVersion,
} from './queries/projections.ts'

const T = 1_795_000_000_000
let store: Store

const projection = (changes: Partial<NewProjection> = {}): NewProjection => ({
  stream: 'orders',
  partition: 0,
  fromOffset: 100,
  projectedFrom: T,
  ...changes,
})

async function waitedFrom(ms: number, stream = 'orders'): Promise<void> {
  await store.general.query(
    `insert into waited_streams (stream, projected_from) values ($1, to_timestamp($2::float8 / 1000))
     on conflict (stream) do update set projected_from = excluded.projected_from`,
    [stream, ms],
  )
}

async function projections(): Promise<unknown[]> {
  const { rows } = await store.general.query(
    `select stream, partition, incarnation, from_offset, projected_from from projections order by 1, 2`,
  )
  return rows
}

beforeAll(async () => {
  store = openStore({ url: (await createDatabase()).url, applicationName: 'test' })
})
afterAll(async () => await store.close())
beforeEach(async () => {
  await store.general.query('truncate waited_streams, projections, trigger_cursors')
})

describe('the projection of a partition', () => {
  it('begins with its cursor, in one statement', async () => {
    await createProjections(store, [projection(), projection({ partition: 1, fromOffset: 7 })])
    expect(await projections()).toEqual([
      { stream: 'orders', partition: 0, incarnation: 1, from_offset: 100, projected_from: T },
      { stream: 'orders', partition: 1, incarnation: 1, from_offset: 7, projected_from: T },
    ])
    expect(await loadCursors(store, 'orders', [0, 1])).toMatchObject([
      { triggerId: projectionTriggerId, version: projectionVersion, partition: 0, nextOffset: 100 },
      { triggerId: projectionTriggerId, version: projectionVersion, partition: 1, nextOffset: 7 },
    ])
  })

  it('that is begun is left as it is', async () => {
    await createProjections(store, [projection()])
    await createProjections(store, [projection({ fromOffset: 50, projectedFrom: T - 1 })])
    expect(await projections()).toMatchObject([{ from_offset: 100, projected_from: T }])
    expect(await loadCursors(store, 'orders', [0])).toMatchObject([{ nextOffset: 100 }])
  })

  it('whose cursor is gone begins anew: what its row said no longer joins on', async () => {
    await createProjections(store, [projection()])
    await store.general.query('delete from trigger_cursors')
    await createProjections(store, [projection({ fromOffset: 500, projectedFrom: T + 9 })])
    expect(await projections()).toMatchObject([{ from_offset: 500, projected_from: T + 9 }])
  })

  it('is of the incarnation of the partition’s other cursors', async () => {
    await store.general.query(
      `insert into trigger_cursors (trigger_id, stream, partition, incarnation, next_offset, version)
       values ('each', 'orders', 0, 3, 0, 1)`,
    )
    await createProjections(store, [projection()])
    expect(await projections()).toMatchObject([{ incarnation: 3 }])
    expect(await loadCursors(store, 'orders', [0])).toMatchObject([{ incarnation: 3 }, { incarnation: 3 }])
  })

  it('begun by two instances is the one that committed first, cursor and row', async () => {
    const one = await store.general.connect()
    try {
      await one.query('begin')
      await createProjections({ ...store, general: one as unknown as Store['general'] }, [
        projection({ fromOffset: 10 }),
      ])
      const two = createProjections(store, [projection({ fromOffset: 20 })])
      await eventually('the second waits for the first', async () => {
        const { rowCount } = await store.general.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return rowCount === 1
      })
      await one.query('commit')
      await two
    } finally {
      one.release()
    }
    expect(await projections()).toMatchObject([{ from_offset: 10 }])
    expect(await loadCursors(store, 'orders', [0])).toMatchObject([{ nextOffset: 10 }])
  })
})

describe('a gap of the projection', () => {
  it('is there while the stream was asked for from an earlier time', async () => {
    await createProjections(store, [projection(), projection({ partition: 1 })])
    expect(await listProjectionGaps(store)).toEqual([])
    await waitedFrom(T)
    expect(await listWaitedStreams(store)).toEqual([{ stream: 'orders', projectedFrom: T }])
    expect(await listProjectionGaps(store)).toEqual([])
    await waitedFrom(T - 60_000)
    const gaps = await listProjectionGaps(store)
    expect(gaps).toMatchObject([
      { partition: 0, incarnation: 1, fromOffset: 100, wantedFrom: T - 60_000 },
      { partition: 1 },
    ])
    const [gap] = gaps
    expect(await extendProjection(store, gap!, { fromOffset: 40 })).toBe(true)
    expect(await listProjectionGaps(store)).toMatchObject([{ partition: 1 }])
    expect(await projections()).toMatchObject([
      { from_offset: 40, projected_from: T - 60_000 },
      { from_offset: 100, projected_from: T },
    ])
  })

  it('is closed once: a second reader’s word no longer joins on', async () => {
    await createProjections(store, [projection()])
    await waitedFrom(T - 1_000)
    const [late] = await listProjectionGaps(store)
    await waitedFrom(T - 2_000)
    const [early] = await listProjectionGaps(store)
    expect(await extendProjection(store, early!, { fromOffset: 20 })).toBe(true)
    expect(await extendProjection(store, late!, { fromOffset: 40 })).toBe(false)
    expect(await projections()).toMatchObject([{ from_offset: 20, projected_from: T - 2_000 }])
  })

  it('that held no event is closed too, and never opened again by a later time', async () => {
    await createProjections(store, [projection()])
    await waitedFrom(T - 1_000)
    const [late] = await listProjectionGaps(store)
    await waitedFrom(T - 2_000)
    const [early] = await listProjectionGaps(store)
    expect(await extendProjection(store, early!, { fromOffset: 100 })).toBe(true)
    expect(await extendProjection(store, late!, { fromOffset: 100 })).toBe(false)
    expect(await projections()).toMatchObject([{ from_offset: 100, projected_from: T - 2_000 }])
  })
})
