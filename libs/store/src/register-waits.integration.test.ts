import { limits } from '@headrace/schemas'
import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeOf, openScene, type Scene, stepOf } from './fixtures/scene.ts'
import { eventWait, lookbackMs, timeWait, waitScene, type WaitScene } from './fixtures/waits.ts'

let scene: Scene
let waits: WaitScene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
  waits = await waitScene(scene)
  await waits.openStreams('answers', 'orders')
})
afterAll(async () => {
  await scene.close()
})

describe('registering', () => {
  test('a wait on a complete stream is open; on another it is pending, and that stream is asked for', async () => {
    const id = await waits.claimed()
    expect(
      await waits.register(
        eventWait(id, 'a'),
        eventWait(id, 'b', { topic: 'fresh/b', since: { ago_ms: 5_000 } }),
        eventWait(id, 'c', { topic: 'fresh/c', since: { ago_ms: 9_000 } }),
        timeWait(id, 'd'),
      ),
    ).toEqual(['open', 'pending', 'pending', 'open'].map((status) => ({ kind: 'registered', status })))
    expect(
      await scene.row(
        `select w.open_from, w.projected_from = min(a.since) as earliest from waited_streams w join waits a using (stream)
         where stream = 'fresh' group by 1, w.projected_from`,
      ),
    ).toEqual({ open_from: null, earliest: true })
  })

  test('an earlier since asks for more, a later one for nothing', async () => {
    const id = await waits.claimed()
    const from = async () =>
      (await scene.row(`select projected_from as at from waited_streams where stream = 'early'`))['at']
    await waits.register(eventWait(id, 'a', { topic: 'early/a', since: { ago_ms: 60_000 } }))
    const first = Number(await from())
    await waits.register(eventWait(id, 'b', { topic: 'early/a', since: { ago_ms: 1_000 } }))
    expect(await from()).toBe(first)
    await waits.register(eventWait(id, 'c', { topic: 'early/a', since: { ago_ms: 600_000 } }))
    expect(Number(await from())).toBeLessThan(first - 500_000)
  })

  test('looks no further back than the look-back, and says so', async () => {
    const id = await waits.claimed()
    const asked = [
      eventWait(id, 'in', { since: { ago_ms: lookbackMs - 1_000 } }),
      eventWait(id, 'out', { since: { ago_ms: lookbackMs + 60_000 } }),
      eventWait(id, 'run', { since: 'run' }),
    ]
    const truncated = async () =>
      (await waits.register(...asked)).slice(0, 2).map((outcome) => 'lookbackTruncated' in outcome)
    expect(await truncated()).toEqual([false, true])
    // It is told, and counted, when it is made.
    expect(await truncated()).toEqual([false, false])
    const { rows } = await scene.store.general.query(
      `select key, lookback_truncated, since = now() - interval '24 h' as at_bound, since - asked_since as cut from waits where run_id = $1 order by key`,
      [id],
    )
    expect(rows).toMatchObject([
      { key: 'in', lookback_truncated: false },
      { key: 'out', lookback_truncated: true, cut: { minutes: 1 } },
      // The scene's runs began before any day of these tests.
      { key: 'run' },
    ])
  })

  test('again, changes nothing, also with the answer there', async () => {
    const id = await waits.claimed()
    await waits.register(eventWait(id, 'a'))
    const before = await scene.row('select * from waits where run_id = $1', [id])
    expect(await waits.register(eventWait(id, 'a', { seen: 3, since: 'run' }))).toEqual([
      { kind: 'registered', status: 'open' },
    ])
    expect(await scene.row('select * from waits where run_id = $1', [id])).toEqual(before)
    await waits.store(waits.response(1, { topic: 'answers/again' }))
    await waits.register(eventWait(id, 'b', { topic: 'answers/again' }))
    await waits.look([id, 'b'])
    expect(await waits.register(eventWait(id, 'b', { topic: 'answers/again' }))).toEqual([
      { kind: 'registered', status: 'answered' },
    ])
  })

  test('twice in one batch is one wait', async () => {
    const id = await waits.claimed()
    expect(
      await waits.register(
        eventWait(id, 'a'),
        eventWait(id, 'a'),
        eventWait(id, 'a', { topic: 'answers/other' }),
      ),
    ).toMatchObject([
      { kind: 'registered' },
      { kind: 'registered' },
      { kind: 'refused', code: 'replay_mismatch' },
    ])
  })

  test.each([
    ['topic', eventWait('', 'a', { topic: 'answers/b' })],
    ['filter', eventWait('', 'a', { filter: '1' })],
    ['kind', timeWait('', 'a')],
  ])('with another %s is a mismatch that names both', async (_, { command }) => {
    const id = await waits.claimed()
    await waits.register(eventWait(id, 'a'))
    const [again] = await waits.register({ workerId: 'w1', command: { ...command, run_id: id } })
    expect(again).toMatchObject({ kind: 'refused', code: 'replay_mismatch' })
    expect(JSON.stringify(again)).toContain('answers/a')
  })

  test('under the key of a stored step is a mismatch', async () => {
    const id = await waits.claimed()
    await scene.apply(stepOf(id, 'a'))
    expect(await waits.register(eventWait(id, 'a'))).toMatchObject([
      { kind: 'refused', code: 'replay_mismatch' },
    ])
  })

  test('for a run in other hands, of another epoch, ended or unknown is lost; others of the batch are not', async () => {
    const [mine, ended, queued] = await scene.startRuns(3)
    await scene.claim(mine!)
    await scene.claim(ended!)
    await scene.apply(completeOf(ended!))
    expect(
      await waits.register(
        eventWait(mine!, 'a', {}, 'w2'),
        eventWait(mine!, 'a', { epoch: 2 }),
        eventWait(ended!, 'a'),
        eventWait(queued!, 'a', { topic: 'nobody/asks' }),
        eventWait('00000000-0000-7000-8000-000000000000', 'a'),
        eventWait(mine!, 'b'),
      ),
    ).toMatchObject([...Array.from({ length: 5 }, () => ({ kind: 'lost' })), { kind: 'registered' }])
    expect(await scene.row(`select 1 from waited_streams where stream = 'nobody'`)).toEqual({})
  })

  test('beyond the limits is refused alone', async () => {
    const id = await waits.claimed()
    const many = Array.from({ length: limits.openWaitsPerRunMax + 1 }, (_, i) =>
      eventWait(id, `k${1_000 + i}`),
    )
    const registered = await waits.register(...many)
    expect(registered.filter(({ kind }) => kind === 'registered')).toHaveLength(limits.openWaitsPerRunMax)
    expect(registered.at(-1)).toMatchObject({ kind: 'refused', code: 'too_many_open_waits' })
    expect(await waits.register(eventWait(id, 'k0'), many[0]!)).toMatchObject([
      { kind: 'refused', code: 'too_many_open_waits' },
      { kind: 'registered' },
    ])
    const other = await waits.claimed()
    expect(
      await waits.register(
        timeWait(other, 'far', { at_ms: limits.timeMsMax }),
        eventWait(other, 'a\u0000b'),
        timeWait(other, 'near', { after_ms: limits.waitMsMax }),
      ),
    ).toMatchObject([
      { kind: 'refused', code: 'wait_too_long' },
      { kind: 'refused', code: 'invalid_field' },
      { kind: 'registered' },
    ])
  })
})
