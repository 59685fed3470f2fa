import { BoundStreams } from '@headrace/broker'
import { createMetrics, type RunningApp, silentLogger, systemClock } from '@headrace/service'
import { holdingCursors, migrate, setTriggerStatus, sweepEventIds } from '@headrace/store'
import { createDatabase, eventually, infra, startOwnPostgres } from '@headrace/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { Scene } from '../stage/scene.ts'
import { RepeatSweep } from './sweep.ts'

const hourMs = 3_600_000
let open: Scene[] = []
let scenes = 0

async function setUp(options: { partitions?: number; databaseUrl?: string } = {}): Promise<Scene> {
  const { brokers, prefix } = await infra()
  const databaseUrl = options.databaseUrl ?? (await createDatabase()).url
  scenes += 1
  const made = new Scene({ brokers, partitions: 1, ...options, prefix: `${prefix}-r${scenes}`, databaseUrl })
  open.push(made)
  return await made.open()
}

afterEach(async () => {
  await Promise.all(open.map(async (one) => await one.end()))
  open = []
})

/** What the trigger's runs were given, in the order of partitions and windows. */
const started = async (scene: Scene, trigger = 'each'): Promise<string[]> =>
  (await scene.windows(trigger)).flatMap(({ data }) => data as string[])

/** The trigger's runs once one of them was given the last event of each partition; what came before it was decided by then. */
async function startedBy(scene: Scene, lasts: string[], trigger = 'each'): Promise<string[]> {
  return await eventually(`${lasts.join(', ')} in windows of ${trigger}`, async () => {
    const events = await started(scene, trigger)
    return lasts.every((last) => events.includes(last)) ? events.toSorted() : null
  })
}

async function metricsOf(app: RunningApp): Promise<string> {
  return await (await fetch(`${app.managementUrl}/metrics`)).text()
}

/** Ids of the stream are swept up to now, as if all of this had been days ago. */
async function sweepAll(scene: Scene): Promise<void> {
  const cursors = await holdingCursors(scene.store, 'orders')
  const olderThanMs = (await scene.store.serverNow()) + hourMs
  const sweep = { stream: 'orders', olderThanMs, cursors, keepMs: 0, limit: 1_000, afterRun: null }
  await eventually('the ids are swept', async () => {
    const swept = await sweepEventIds(scene.store, {
      ...sweep,
      cursors: await holdingCursors(scene.store, 'orders'),
    })
    return swept.kind === 'swept' && swept.deleted > 0
  })
  const { rows } = await scene.store.general.query('select 1 from event_ids')
  expect(rows).toEqual([])
}

describe('an id that comes again', () => {
  it('starts nothing: in another batch, of another producer, on another partition, and in the same chunk', async () => {
    const scene = await setUp({ partitions: 2 })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/**' }])
    const app = await scene.start()
    await scene.send([{ id: 'a' }, { id: 'b' }, { id: 'a' }, { id: 'c' }])
    expect(await startedBy(scene, ['c'])).toEqual(['a', 'b', 'c'])
    await scene.send([
      { id: 'a' },
      { id: 'b', partition: 1 },
      { id: 'd' },
      { id: 'e', partition: 1 },
      // Another publisher's.
      { id: 'a', source: 'other', partition: 1 },
      { id: 'last', partition: 1 },
    ])
    expect(await startedBy(scene, ['d', 'last'])).toEqual(['a', 'a', 'b', 'c', 'd', 'e', 'last'])
    const metrics = await metricsOf(app)
    expect(metrics).toContain('headrace_trigger_events_total{trigger="each",outcome="repeat"} 3')
    const { rows } = await scene.store.general.query(
      `select partition, sequence_id, first_partition, first_sequence_id from decisions order by partition, sequence_id`,
    )
    expect(rows.map((row) => Object.values(row as object))).toEqual([
      [0, 2, 0, 0],
      [0, 4, 0, 0],
      [1, 0, 0, 1],
    ])
  })

  it('has no place in a window, and the next event takes it', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created', size: 3 }])
    await scene.start()
    await scene.send(['a', 'b', 'a', 'b', 'c', 'd', 'c', 'e', 'f'].map((id) => ({ id })))
    await startedBy(scene, ['f'])
    expect((await scene.windows('each')).map(({ data, offsets }) => [data, offsets])).toEqual([
      [['a', 'b', 'c'], [0, 1, 4]],
      [['d', 'e', 'f'], [5, 7, 8]],
    ]) // prettier-ignore
  })

  it('starts nothing when the service was stopped in between, or died with it entered and not started', async () => {
    const scene = await setUp({ partitions: 2 })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    const first = await scene.start()
    await scene.send([{ id: 'a' }, { id: 'b', partition: 1 }])
    await startedBy(scene, ['a', 'b'])
    await scene.stop(first)
    await scene.send([{ id: 'a', partition: 1 }, { id: 'b' }, { id: 'c' }])
    const second = await scene.start()
    await startedBy(scene, ['c'])
    await scene.stop(second)
    // As after a kill: entered, and its window not stored.
    await scene.store.general.query(`delete from runs where input like '%"c"%'`)
    await scene.store.general.query(`update trigger_cursors set next_offset = 2 where partition = 0`)
    await scene.start()
    await scene.send([{ id: 'last' }, { id: 'last1', partition: 1 }])
    expect(await startedBy(scene, ['last', 'last1'])).toEqual(['a', 'b', 'c', 'last', 'last1'])
  })

  it('is entered for no event that is not marked', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await scene.start()
    await scene.publish(3)
    await eventually('they are started', async () => (await started(scene)).length === 3)
    const { rows } = await scene.store.general.query(
      'select 1 from event_ids union all select 1 from event_id_sweeps',
    )
    expect(rows).toEqual([])
  })

  it('is entered by the lanes of two instances at the same moment: one has it', async () => {
    const scene = await setUp({ partitions: 2 })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    const apps = [await scene.start(), await scene.start()]
    await eventually('each instance has one partition', async () => {
      const texts = await Promise.all(apps.map(metricsOf))
      return texts.every((text) => text.includes('headrace_trigger_lanes 1'))
    })
    // Held by a third until both wait for it.
    const holder = await scene.store.general.connect()
    await holder.query('begin')
    await holder.query(
      `insert into event_ids (stream, source, id, partition, sequence_id, log_time) values ('orders', 'test', 'a', 9, 9, now())`,
    )
    await scene.send([{ id: 'a' }, { id: 'last' }])
    await scene.send([
      { id: 'a', partition: 1 },
      { id: 'last1', partition: 1 },
    ])
    await eventually('both lanes wait', async () => {
      const { rows } = await scene.store.general.query<{ waiting: number }>(
        `select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows[0]?.waiting === 2
    })
    expect(await started(scene)).toEqual([])
    await holder.query('rollback')
    holder.release()
    expect(await startedBy(scene, ['last', 'last1'])).toEqual(['a', 'last', 'last1'])
  })

  it('waits while Postgres is away, and then starts once', async () => {
    const postgres = await startOwnPostgres()
    await migrate(postgres.url)
    const scene = await setUp({ databaseUrl: postgres.url })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    const app = await scene.start()
    await scene.send([{ id: 'a' }])
    await startedBy(scene, ['a'])
    await postgres.kill()
    await postgres.refused()
    await scene.send([{ id: 'a' }, { id: 'b' }, { id: 'b' }])
    await eventually('readiness says what is missing', async () => {
      const answer = await fetch(`${app.managementUrl}/readyz`)
      return answer.status === 503 && (await answer.text()).includes('postgres')
    })
    await postgres.start()
    await scene.send([{ id: 'last' }])
    expect(await startedBy(scene, ['last'])).toEqual(['a', 'b', 'last'])
    await eventually('ready again', async () => (await fetch(`${app.managementUrl}/readyz`)).status === 200)
  })
})

describe('a trigger that was paused until the ids of its last events were swept', () => {
  it('starts nothing twice when it catches up beside the lane', async () => {
    const scene = await setUp({ partitions: 2 })
    await scene.register('b1', [
      { id: 'each', pattern: 'orders/created' },
      { id: 'other', pattern: 'orders/created' },
    ])
    await scene.start()
    await scene.send([{ id: 'a' }, { id: 'b', partition: 1 }])
    await startedBy(scene, ['a', 'b'])
    await setTriggerStatus(scene.store, 'each', 'paused')
    await scene.send([{ id: 'a' }, { id: 'b' }, { id: 'c' }, { id: 'd', partition: 1 }])
    expect(await startedBy(scene, ['c', 'd'], 'other')).toEqual(['a', 'b', 'c', 'd'])
    await sweepAll(scene)
    await setTriggerStatus(scene.store, 'each', 'live')
    expect(await startedBy(scene, ['c', 'd'])).toEqual(['a', 'b', 'c', 'd'])
  })

  it('has the one of two copies again that it had, though the other lies before it in the log', async () => {
    const scene = await setUp({ partitions: 2 })
    await scene.register('b1', [{ id: 'pairs', pattern: 'orders/created', size: 2 }])
    // The later one is read first, because the partition of the other lags.
    await scene.send([{ id: 'a' }])
    await scene.send([{ id: 'a', partition: 1 }])
    await scene.store.general.query(
      `insert into event_ids (stream, source, id, partition, sequence_id, log_time) values ('orders', 'test', 'a', 1, 0, now())`,
    )
    await scene.start()
    const scanned = async () => {
      const { rows } = await scene.store.general.query<{ partition: number; open_events: number }>(
        `select partition, open_events from trigger_cursors where next_offset = 0 and open_events > 0`,
      )
      return rows.map(({ partition, open_events: events }) => [partition, events])
    }
    await eventually('it is in an open window', async () => JSON.stringify(await scanned()) === '[[1,1]]')
    await eventually('the repeat is passed', async () => (await scene.cursor('pairs'))?.next_offset === 1)
    await setTriggerStatus(scene.store, 'pairs', 'paused')
    // As if the repeat, too, lay behind an open window.
    await scene.store.general.query(`update trigger_cursors set next_offset = 0`)
    await sweepAll(scene)
    await setTriggerStatus(scene.store, 'pairs', 'live')
    await scene.send([{ id: 'b', partition: 1 }, { id: 'c' }, { id: 'd' }])
    await eventually('both windows are full', async () => (await scene.windows('pairs')).length === 2)
    expect(await scene.windows('pairs')).toMatchObject([
      { partition: 0, data: ['c', 'd'] },
      { partition: 1, data: ['a', 'b'] },
    ])
  })

  it('starts nothing twice when the lane begins where it is', async () => {
    const scene = await setUp({ partitions: 2 })
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    const app = await scene.start()
    await scene.send([{ id: 'a' }, { id: 'b', partition: 1 }])
    await startedBy(scene, ['a', 'b'])
    await setTriggerStatus(scene.store, 'each', 'paused')
    await sweepAll(scene)
    await scene.stop(app)
    await scene.send([{ id: 'b' }, { id: 'a', partition: 1 }, { id: 'c' }, { id: 'd', partition: 1 }])
    await setTriggerStatus(scene.store, 'each', 'live')
    await scene.start()
    expect(await startedBy(scene, ['c', 'd'])).toEqual(['a', 'b', 'c', 'd'])
    const { rows } = await scene.store.general.query<{ ids: string[] }>(
      'select array_agg(id order by id) as ids from event_ids',
    )
    expect(rows[0]?.ids).toEqual(['a', 'b', 'c', 'd'])
  })
})

describe('what a run published', () => {
  it('is a repeat for as long as the run is there, when every other id of its age is swept', async () => {
    const scene = await setUp()
    await scene.register('b1', [{ id: 'each', pattern: 'orders/created' }])
    await scene.start()
    await scene.send([{ id: 'first' }])
    await startedBy(scene, ['first'])
    const { rows } = await scene.store.general.query<{ id: string }>('select id from runs')
    const run = rows[0]?.id ?? ''
    await scene.send([{ id: `${run}/ask`, source: 'headrace:run' }, { id: 'plain' }])
    await startedBy(scene, ['plain'])
    await scene.store.general.query(`update event_ids set log_time = log_time - interval '25 hours'`)
    const context = { log: silentLogger, clock: systemClock, metrics: createMetrics() }
    const { store, broker, prefix } = scene
    const sweep = new RepeatSweep(context, { store, broker, streams: new BoundStreams(prefix) })
    const ids = async () => {
      const left = await store.general.query<{ id: string }>('select id from event_ids order by id')
      return left.rows.map(({ id }) => id)
    }
    await eventually('the rest is swept', async () => {
      await sweep.duty.runOnce()
      return (await ids()).length === 1
    })
    expect(await ids()).toEqual([`${run}/ask`])
    await scene.send([{ id: `${run}/ask`, source: 'headrace:run' }, { id: 'last' }])
    expect(await startedBy(scene, ['last'])).toEqual([`${run}/ask`, 'first', 'last', 'plain'].toSorted())
    await store.general.query('delete from runs where id = $1', [run])
    await eventually('its ids go with it', async () => {
      await sweep.duty.runOnce()
      return (await ids()).join() === 'last'
    })
  })
})
