import { createDatabase } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { completeOf, openScene, releaseOf, type Scene, suspendOf } from './fixtures/scene.ts'
import {
  eventAnswer,
  eventWait,
  sequenceIdOf,
  sinceMs,
  timeWait,
  waitScene,
  type WaitScene,
} from './fixtures/waits.ts'
import {
  answerTimers,
  claimRuns,
  dueEventWaits,
  openPendingWaits,
  openWaitsOn,
  type OpenWait,
  sweepEndedWaits,
  timeOutWaits,
  uncheckedWaits,
} from './index.ts'
import { answerWaits } from './queries/answer-waits.ts'

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

describe('an answer', () => {
  test('comes from what was stored before the wait was there, and wakes the parked run with a step and a task', async () => {
    const id = await waits.claimed()
    await waits.store(
      waits.response(7, {
        topic: 'answers/before',
        eventType: 'yes "x"',
        key: 'ké',
        data: '{"n": 1.50, "z":"\\u0000"}',
      }),
    )
    await waits.register(eventWait(id, 'a', { topic: 'answers/before' }))
    await scene.apply(suspendOf(id))
    const { answers, queued } = await waits.look([id, 'a'])
    expect(answers).toMatchObject([
      {
        runId: id,
        key: 'a',
        kind: 'event',
        status: 'answered',
        workflow: 'on_order',
        topic: 'answers/before',
        unverified: false,
      },
    ])
    expect(answers[0]!.logTimeMs).toBe(waits.response(7).logTimeMs)
    expect(queued).toEqual([
      {
        runId: id,
        epoch: 2,
        workflow: 'on_order',
        queue: 'default',
        lost: 0,
        build: 'b1',
        input: '{"events":[]}',
      },
    ])
    expect(await waits.run(id)).toEqual({ status: 'queued', epoch: 2, wake: 1 })
    const [claimed] = await claimRuns(scene.store, {
      claims: [{ runId: id, epoch: 2, workerId: 'w2', wantInput: false }],
    })
    expect(claimed).toMatchObject({
      wake: 1,
      steps: [{ key: 'a', step_kind: 'event', n: 0, seen: 1, epoch: 1, attempts: 1 }],
    })
    const output = claimed!.steps[0]!.output!
    // To the letter what was published.
    expect(output).toContain('"data":{"n": 1.50, "z":"\\u0000"}')
    expect(JSON.parse(output)).toEqual({
      id: 'e7',
      source: 'test',
      topic: 'answers/before',
      event_type: 'yes "x"',
      data: { n: 1.5, z: '\u0000' },
      key: 'ké',
      stream: 'answers',
      partition: 0,
      sequence_id: 7,
      created_at: new Date(waits.response(7).logTimeMs).toISOString(),
    })
  })

  test('reaches a running run as a higher wake, and queues nothing', async () => {
    const id = await waits.claimed()
    await waits.waiting(id, 'a', { topic: 'answers/running' })
    await waits.store(waits.response(1, { topic: 'answers/running' }))
    expect((await waits.look([id, 'a'])).queued).toEqual([])
    expect(await waits.run(id)).toEqual({ status: 'running', epoch: 1, wake: 1 })
    expect(await waits.answersOf(id)).toMatchObject([{ key: 'a', seen: 1 }])
    expect((await waits.look([id, 'a'])).answers).toEqual([])
  })

  test('reaches a queued and a paused run without queueing it once more', async () => {
    for (const status of ['queued', 'paused']) {
      const id = await waits.claimed()
      await waits.waiting(id, 'a', { topic: `answers/${status}` })
      if (status === 'queued') await scene.apply(releaseOf(id))
      else await scene.row(`update runs set status = 'paused', worker_id = null where id = $1`, [id])
      const before = await waits.run(id)
      await waits.store(waits.response(1, { topic: `answers/${status}` }))
      expect((await waits.look([id, 'a'])).queued).toEqual([])
      expect(await waits.run(id)).toEqual({ ...before, wake: 1 })
    }
  })

  test('to a run that has ended changes nothing, and the sweep cancels its waits', async () => {
    const id = await waits.claimed()
    const live = await waits.claimed()
    await waits.waiting(id, 'a', { topic: 'answers/ended' })
    await waits.waiting(live, 'a', { topic: 'answers/ended2' })
    await scene.apply(completeOf(id))
    await waits.store(waits.response(1, { topic: 'answers/ended' }))
    expect(await waits.look([id, 'a'])).toEqual({ answers: [], queued: [] })
    expect(await waits.wait(id, 'a')).toMatchObject({ status: 'open' })
    let after: Awaited<ReturnType<typeof sweepEndedWaits>>['next'] = null
    let cancelled = 0
    do {
      const page = await sweepEndedWaits(scene.store, { after, limit: 3 })
      cancelled += page.cancelled
      after = page.next
    } while (after !== null)
    expect(cancelled).toBeGreaterThan(0)
    expect(await waits.wait(id, 'a')).toMatchObject({ status: 'cancelled' })
    expect(await waits.wait(live, 'a')).toMatchObject({ status: 'open' })
  })

  test('goes to every open wait on its topic', async () => {
    const ids = await scene.startRuns(3)
    for (const id of ids) {
      await scene.claim(id)
      await waits.waiting(id, 'a', { topic: 'answers/all' })
      await waits.waiting(id, 'b', { topic: 'answers/all' })
    }
    await waits.store(waits.response(1, { topic: 'answers/all' }))
    const found: OpenWait[] = []
    for (;;) {
      const page = await openWaitsOn(
        scene.store,
        ['answers/none', 'answers/all', 'answers/all'],
        found.at(-1) ?? null,
        4,
      )
      found.push(...page)
      if (page.length < 4) break
    }
    expect(found).toHaveLength(6)
    const { answers } = await waits.look(...found.map((ref): [string, string] => [ref.runId, ref.key]))
    expect(answers).toHaveLength(6)
    expect(await openWaitsOn(scene.store, ['answers/all'], null, 4)).toEqual([])
  })

  test('never is an event of the run’s own window, nor one before the run began', async () => {
    const id = await waits.claimed()
    const { at } = await scene.row('select last_offset as at from runs where id = $1', [id])
    const own = Number(at)
    const event = (sequenceId: number, partition = 0) =>
      waits.response(sequenceId, { topic: 'orders/created', partition, id: `${partition}/${sequenceId}` })
    await waits.store(event(own - 1), event(own))
    await waits.register(
      eventWait(id, 'run', { topic: 'orders/created', since: 'run' }),
      eventWait(id, 'ago', { topic: 'orders/created' }),
    )
    await waits.look([id, 'run'], [id, 'ago'])
    // A time that was asked for is taken at its word; only the window is left out.
    expect(await waits.wait(id, 'ago')).toMatchObject({ status: 'answered', sequence_id: own - 1 })
    expect(await waits.wait(id, 'run')).toMatchObject({ status: 'open' })
    await waits.store(event(own + 1))
    await waits.look([id, 'run'])
    expect(await waits.wait(id, 'run')).toMatchObject({ status: 'answered', sequence_id: own + 1 })
  })

  test('passes the filter, however many do not, page after page', async () => {
    const id = await waits.claimed()
    const topic = 'answers/filtered'
    await waits.store(...Array.from({ length: 450 }, (_, i) => waits.response(i, { topic })))
    const large = waits.response(450, { topic, data: JSON.stringify('x'.repeat(700_000)) })
    await waits.store(
      large,
      { ...large, sequenceId: 451 },
      { ...large, sequenceId: 452 },
      waits.response(453, { topic }),
    )
    await waits.register(
      eventWait(id, 'a', { topic, filter: '449' }),
      eventWait(id, 'b', { topic, filter: '453' }),
      eventWait(id, 'c', { topic, filter: 'no' }),
    )
    await waits.look([id, 'a'], [id, 'b'], [id, 'c'])
    expect(await waits.wait(id, 'a')).toMatchObject({ sequence_id: 449 })
    expect(await waits.wait(id, 'b')).toMatchObject({ sequence_id: 453 })
    expect(await waits.wait(id, 'c')).toMatchObject({ status: 'open' })
  })

  test('older than the look-back is the latest of its topic, if it was asked for', async () => {
    const id = await waits.claimed()
    const latest = async (topic: string, hoursAgo: number, sequenceId: number) =>
      await scene.row(
        `insert into latest_responses select $1, now() - make_interval(hours => $2), 'answers', 1, 0, $3, 'old', 's', null, null, '"old"', null`,
        [topic, hoursAgo, sequenceId],
      )
    await latest('answers/latest', 30, 5)
    await latest('answers/older', 50, 5)
    await latest('answers/both', 30, 5)
    await waits.store(waits.response(6, { topic: 'answers/both' }))
    const since = { ago_ms: 40 * 3_600_000 }
    await waits.register(
      eventWait(id, 'latest', { topic: 'answers/latest', since, filter: '"old"' }),
      eventWait(id, 'older', { topic: 'answers/older', since }),
      eventWait(id, 'both', { topic: 'answers/both', since }),
      eventWait(id, 'young', { topic: 'answers/both' }),
    )
    await waits.look([id, 'latest'], [id, 'older'], [id, 'both'], [id, 'young'])
    expect(await waits.wait(id, 'latest')).toMatchObject({ status: 'answered', sequence_id: 5 })
    expect(await waits.wait(id, 'older')).toMatchObject({ status: 'open' })
    expect(await waits.wait(id, 'both')).toMatchObject({ status: 'answered', sequence_id: 5 })
    expect(await waits.wait(id, 'young')).toMatchObject({ status: 'answered', sequence_id: 6 })
  })
})

describe('a wait that is pending', () => {
  test('is not answered; when its stream is complete it is opened, has not looked yet, and then is', async () => {
    const id = await waits.claimed()
    await waits.register(
      eventWait(id, 'a', { topic: 'opening/a', since: { ago_ms: sinceMs / 2 } }),
      eventWait(id, 'b', { topic: 'opening/a' }),
    )
    await waits.store(waits.response(1, { topic: 'opening/a' }))
    expect(await waits.look([id, 'a'], [id, 'b'])).toEqual({ answers: [], queued: [] })
    expect(await openPendingWaits(scene.store)).toEqual([])
    await scene.row(
      `update waited_streams set open_from = projected_from + interval '100 s' where stream = 'opening'`,
    )
    expect(await openPendingWaits(scene.store)).toEqual([{ runId: id, key: 'a', filtered: false }])
    expect(await uncheckedWaits(scene.store, { olderThanMs: 0, limit: 1_000 })).toContainEqual({
      runId: id,
      key: 'a',
    })
    expect((await waits.look([id, 'a'], [id, 'b'])).answers).toMatchObject([{ key: 'a' }])
  })
})

describe('a wait that has not looked for itself', () => {
  test('is found after a while, once: having looked is kept', async () => {
    const id = await waits.claimed()
    await waits.register(eventWait(id, 'a', { topic: 'answers/unchecked' }), timeWait(id, 't'))
    const mine = async () =>
      (await uncheckedWaits(scene.store, { olderThanMs: 5_000, limit: 1_000 })).filter(
        ({ runId }) => runId === id,
      )
    expect(await mine()).toEqual([])
    await scene.row(`update waits set created_at = now() - interval '6 s' where run_id = $1`, [id])
    expect(await mine()).toEqual([{ runId: id, key: 'a' }])
    await waits.look([id, 'a'])
    expect(await mine()).toEqual([])
  })
})

describe('time', () => {
  test('answers the waits for it that are due, and says when the next is', async () => {
    const id = await waits.claimed()
    await waits.register(
      timeWait(id, 'now', { after_ms: 0 }),
      timeWait(id, 'past', { at_ms: 0 }),
      timeWait(id, 'later', { after_ms: 30_000 }),
    )
    await scene.apply(suspendOf(id))
    const { answers, queued, nextDueMs } = await answerTimers(scene.store, { limit: 100 })
    expect(answers).toMatchObject([
      { runId: id, key: 'past', kind: 'time', status: 'answered', topic: null, logTimeMs: null },
      { runId: id, key: 'now' },
    ])
    expect(queued).toMatchObject([{ runId: id, epoch: 2 }])
    const inMs = nextDueMs! - (await scene.store.serverNow())
    expect(inMs).toBeGreaterThan(0)
    expect(inMs).toBeLessThan(31_000)
    const [run] = await claimRuns(scene.store, {
      claims: [{ runId: id, epoch: 2, workerId: 'w1', wantInput: false }],
    })
    // The one that was due first woke it first.
    expect(run?.steps).toMatchObject([
      { key: 'past', step_kind: 'time', seen: 1, output: 'null' },
      { key: 'now', seen: 2 },
    ])
  })

  test('of ended runs neither fires nor stands in the way', async () => {
    const [ended, live] = [await waits.claimed(), await waits.claimed()]
    await waits.register(timeWait(ended, 'a', { at_ms: 0 }), timeWait(live, 'a', { at_ms: 1 }))
    await scene.apply(completeOf(ended))
    const { answers } = await answerTimers(scene.store, { limit: 1 })
    expect(answers).toMatchObject([{ runId: live }])
  })

  test('over an event wait throws into the workflow what it waited for', async () => {
    const id = await waits.claimed()
    const topic = 'answers/late'
    await waits.register(
      eventWait(id, 'a', { topic, timeout_ms: 1_500 }),
      eventWait(id, 'b', { topic }),
      eventWait(id, 'p', { topic: 'pending/late', timeout_ms: 1_500 }),
    )
    // Not before its time, whoever asks.
    expect((await timeOutWaits(scene.store, [{ runId: id, key: 'a', unverified: false }])).answers).toEqual(
      [],
    )
    await scene.row(
      `update waits set expires_at = created_at + interval '1.5 s', created_at = created_at - interval '10 s' where run_id = $1 and key <> 'b'`,
      [id],
    )
    await scene.row(
      `update waits set expires_at = expires_at - interval '10 s' where run_id = $1 and key <> 'b'`,
      [id],
    )
    const due = (await dueEventWaits(scene.store, { limit: 10 })).filter(({ runId }) => runId === id)
    expect(due).toMatchObject([
      { key: 'a', topic, stream: 'answers', status: 'open' },
      { key: 'p', status: 'pending' },
    ])
    expect(due[0]!.overdueMs).toBeGreaterThan(8_000)
    const pages = [await dueEventWaits(scene.store, { limit: 1 })]
    while (pages.at(-1)!.length > 0)
      pages.push(await dueEventWaits(scene.store, { limit: 1, after: pages.at(-1)![0]! }))
    expect(
      pages
        .flat()
        .filter(({ runId }) => runId === id)
        .map(({ key }) => key),
    ).toEqual(['a', 'p'])
    // Only without a proof is one timed out that was never opened.
    const { answers } = await timeOutWaits(
      scene.store,
      due.map((wait) => ({ ...wait, unverified: false })),
    )
    expect(answers).toMatchObject([{ key: 'a', status: 'timed_out', unverified: false }])
    const unverified = await timeOutWaits(
      scene.store,
      due.map((wait) => ({ ...wait, unverified: true })),
    )
    expect(unverified.answers).toMatchObject([{ key: 'p', status: 'timed_out', unverified: true }])
    const [first, second] = await waits.answersOf(id)
    expect(first).toMatchObject({ key: 'a', step_kind: 'event', output: null, seen: 1 })
    expect(JSON.parse(first!.error!)).toEqual({
      name: 'WaitTimeoutError',
      message: 'no event on answers/late within 1.5 s',
      code: 'wait_timeout',
      stack: null,
      step_key: 'a',
      topic,
      timeout_ms: 1_500,
      unverified: false,
    })
    expect(JSON.parse(second!.error!)).toMatchObject({ step_key: 'p', unverified: true })
    // It is answered by nothing any more.
    await waits.store(waits.response(1, { topic }))
    await waits.look([id, 'a'], [id, 'b'])
    expect(await waits.wait(id, 'a')).toMatchObject({ status: 'timed_out' })
    expect(await waits.wait(id, 'b')).toMatchObject({ status: 'answered' })
  })
})

test('several waits of one run answered by one statement carry wakes in the order of the log', async () => {
  const id = await waits.claimed()
  const at = (sequenceId: number, topic: string, logTimeMs: number, partition = 0) =>
    waits.response(sequenceId, { topic, logTimeMs, partition })
  const t = waits.response(0).logTimeMs
  // On partition 0 the log's time goes backwards: 5 before 6 all the same. Partition 1 has a time between.
  const five = at(5, 'answers/five', t + 30)
  const six = at(6, 'answers/six', t + 10)
  const other = at(1, 'answers/other', t + 20, 1)
  await waits.store(five, six, other)
  await waits.register(
    ...['six', 'five', 'other', 'twin'].map((key) =>
      eventWait(id, key, { topic: `answers/${key === 'twin' ? 'five' : key}` }),
    ),
  )
  await answerWaits(scene.store, [
    eventAnswer(id, 'six', six),
    eventAnswer(id, 'twin', five),
    eventAnswer(id, 'five', five),
    eventAnswer(id, 'other', other),
  ])
  expect((await waits.answersOf(id)).map(({ key, seen }) => [key, seen])).toEqual([
    ['other', 1],
    ['five', 2],
    ['twin', 3],
    ['six', 4],
  ])
  expect((await waits.answersOf(id)).map(sequenceIdOf)).toEqual([1, 5, 5, 6])
})
