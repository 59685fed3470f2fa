import { setCheckpointHandler } from '@headrace/core'
import { createDatabase } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { admit, registerRule, startHeld, underWay, workflow } from './fixtures/concurrency.ts'
import { invoke } from './fixtures/children.ts'
import { inOrder, lockRun, untilWaiting } from './fixtures/in-order.ts'
import { completeOf, openScene, type Scene, suspendOf } from './fixtures/scene.ts'
import {
  admitRuns,
  cancelRuns,
  createRun,
  getRun,
  keysWithRoom,
  newRunIds,
  pauseRuns,
  redriveWindow,
  releaseDelayedRuns,
  resumeRuns,
  retryRuns,
  startChildren,
  stealRuns,
} from './index.ts'
import { lockKeysStatement } from './queries/admit-runs.ts'
import { run } from './statement.ts'

let scene: Scene
beforeAll(async () => {
  scene = await openScene((await createDatabase()).url)
})
afterAll(async () => {
  await scene.close()
})
beforeEach(async () => {
  await registerRule(scene.store, { limit: 1, key: 'event.data.k' })
})
afterEach(() => setCheckpointHandler(null))

let keys = 0
const freshKey = (): string => `"k${(keys += 1)}`
const freshId = async (): Promise<string> => newRunIds(1, await scene.store.serverNow())[0]!
const finish = async (id: string): Promise<void> => {
  const { epoch = 1 } = (await getRun(scene.store, id)) ?? {}
  expect(await scene.claim(id, epoch)).toBe(true)
  expect(await scene.apply(completeOf(id, epoch))).toEqual([{ kind: 'done' }])
}
const stateOf = async (id: string): Promise<unknown[]> => {
  const found = await getRun(scene.store, id)
  return [found?.status, found?.blockedReason]
}
const heldState = ['queued', 'concurrency']

describe('runs under a limit', () => {
  test('are held when they come, and let in by the order of their windows, one when another ends', async () => {
    const key = freshKey()
    const ids = await startHeld(scene.store, key, key, key)
    for (const id of ids) expect(await stateOf(id)).toEqual(heldState)
    expect(await admit(scene.store, key)).toEqual([ids[0]])
    expect(await admit(scene.store, key)).toEqual([])
    expect(await stateOf(ids[0]!)).toEqual(['queued', null])
    const later = await startHeld(scene.store, key)
    for (const [at, id] of [...ids, ...later].entries()) {
      await finish(id)
      expect(await admit(scene.store, key)).toEqual([...ids, ...later].slice(at + 1, at + 2))
    }
  })

  test('are not stolen while they are held', async () => {
    const key = freshKey()
    const [first, second] = await startHeld(scene.store, key, key)
    await admit(scene.store, key)
    await scene.store.general.query(
      `update runs set queued_at = now() - interval '1 hour' where concurrency_key = $1`,
      [key],
    )
    const steal = { workerId: 'w1', queue: 'default', workflows: [workflow], limit: 10 }
    const taken = (await stealRuns(scene.store, steal)).map(({ run_id }) => run_id)
    expect(taken).toContain(first)
    expect(taken).not.toContain(second)
  })

  test('of other keys do not count', async () => {
    const [a, b] = [freshKey(), freshKey()]
    const [first, , other] = await startHeld(scene.store, a, a, b)
    expect(await admit(scene.store, a, b)).toEqual([first, other])
  })

  test('count while they wait, and when they are released', async () => {
    const key = freshKey()
    const [first, second] = await startHeld(scene.store, key, key)
    await admit(scene.store, key)
    await scene.claim(first!)
    expect(await scene.apply(suspendOf(first!))).toEqual([{ kind: 'done' }])
    expect(await admit(scene.store, key)).toEqual([])
    await cancelRuns(scene.store, [first!])
    expect(await admit(scene.store, key)).toEqual([second])
    await scene.claim(second!)
    await scene.apply({ workerId: 'w1', command: { kind: 'release', run_id: second!, epoch: 1 } })
    expect(await stateOf(second!)).toEqual(['queued', null])
    expect(await admit(scene.store, key)).toEqual([])
  })

  test('that end tell their key', async () => {
    const key = freshKey()
    const [id] = await startHeld(scene.store, key)
    expect(await cancelRuns(scene.store, [id!])).toMatchObject([{ concurrencyKey: key }])
  })
})

describe('a pause', () => {
  test('keeps the place of a run that was let in', async () => {
    const key = freshKey()
    const [first] = await startHeld(scene.store, key, key)
    await admit(scene.store, key)
    await pauseRuns(scene.store, [first!])
    expect(await admit(scene.store, key)).toEqual([])
    expect(await resumeRuns(scene.store, [first!])).toMatchObject({ queued: [{ runId: first }], held: [] })
  })

  test('lets others pass a run that is held; resumed it is the first to be let in', async () => {
    const key = freshKey()
    const [first, second, third] = await startHeld(scene.store, key, key, key)
    await pauseRuns(scene.store, [first!])
    expect(await admit(scene.store, key)).toEqual([second])
    expect(await resumeRuns(scene.store, [first!])).toEqual({
      resumed: [first],
      queued: [],
      held: [{ workflow, key }],
    })
    expect(await stateOf(first!)).toEqual(heldState)
    await finish(second!)
    expect(await admit(scene.store, key)).toEqual([first])
    await finish(first!)
    expect(await admit(scene.store, key)).toEqual([third])
  })
})

describe('every way of starting a run', () => {
  const byApi = { tags: {}, traceparent: null, externalId: null, delayMs: null }
  const input = (key: string) => JSON.stringify({ k: key.slice(1) })

  test('by API: the key is of the input; one on which it fails starts nothing', async () => {
    const key = freshKey()
    const fresh = { ...byApi, workflow, runId: await freshId(), input: input(key) }
    expect(await createRun(scene.store, fresh)).toMatchObject({
      status: 'created',
      seed: null,
      held: { workflow, key },
    })
    expect(await admit(scene.store, key)).toEqual([fresh.runId])
    const bad = { ...fresh, runId: await freshId(), input: '{"k":{"not":"a key"}}' }
    expect(await createRun(scene.store, bad)).toMatchObject({ status: 'invalid_key' })
    expect(await getRun(scene.store, bad.runId)).toBeNull()
  })

  test('by API, sent again under its own id: the run that is there, though a later rule fails on its input', async () => {
    const sent = { ...byApi, workflow, runId: await freshId(), input: '{"k":["no key"]}', externalId: 'once' }
    await registerRule(scene.store, null)
    expect(await createRun(scene.store, sent)).toMatchObject({ status: 'created', held: null })
    await registerRule(scene.store, { limit: 1, key: 'event.data.k' })
    expect(await createRun(scene.store, { ...sent, runId: await freshId() })).toMatchObject({
      status: 'existing',
      run: { id: sent.runId },
    })
  })

  test('with a delay: it counts for nothing until that is over, and then is held', async () => {
    const key = freshKey()
    const runId = await freshId()
    const delayed = { ...byApi, workflow, runId, input: input(key), delayMs: 3_600_000 }
    expect(await createRun(scene.store, delayed)).toMatchObject({ seed: null, held: null })
    const [other] = await startHeld(scene.store, key)
    expect(await admit(scene.store, key)).toEqual([other])
    await scene.store.general.query(`update runs set run_at = now() where id = $1`, [runId])
    expect(await releaseDelayedRuns(scene.store, { limit: 10 })).toMatchObject({
      queued: [],
      held: [{ workflow, key }],
    })
    await finish(other!)
    expect(await admit(scene.store, key)).toEqual([runId])
  })

  test('a delay that is over while the run is paused', async () => {
    const key = freshKey()
    const runId = await freshId()
    await createRun(scene.store, { ...byApi, workflow, runId, input: input(key), delayMs: 3_600_000 })
    await pauseRuns(scene.store, [runId])
    await scene.store.general.query(`update runs set run_at = now() where id = $1`, [runId])
    expect(await resumeRuns(scene.store, [runId])).toMatchObject({ queued: [], held: [{ workflow, key }] })
  })

  test('as a child, also of one that waits; where the key fails the child has failed', async () => {
    const key = freshKey()
    const [parent] = await startHeld(scene.store, freshKey())
    await admit(
      scene.store,
      (await scene.row('select concurrency_key from runs where id = $1', [parent]))[
        'concurrency_key'
      ] as string,
    )
    await scene.claim(parent!)
    const nowMs = await scene.store.serverNow()
    const child = (name: string, text: string) => invoke(parent!, name, { workflow, input: text })
    const started = await startChildren(scene.store, [child('a', input(key)), child('b', '{"k":[]}')], {
      nowMs,
    })
    expect(started).toMatchObject({ queued: [], held: [{ workflow, key }] })
    const [held, failed] = started.outcomes.map((each) => (each.kind === 'invoked' ? each.childRunId : ''))
    expect(await stateOf(held!)).toEqual(heldState)
    const broken = await getRun(scene.store, failed!)
    expect(broken?.status).toBe('failed')
    expect(JSON.parse(broken?.error ?? '{}')).toMatchObject({
      name: 'ConcurrencyKeyError',
      code: 'concurrency_key_failed',
    })
  })

  test('as a retry, under the key that the rule of now gives it', async () => {
    const runId = await freshId()
    await createRun(scene.store, { ...byApi, workflow, runId, input: '{"k":"old","other":"new"}' })
    await cancelRuns(scene.store, [runId])
    await registerRule(scene.store, { limit: 1, key: 'event.data.other' })
    const newRunId = await freshId()
    expect(await retryRuns(scene.store, [{ runId, newRunId }])).toMatchObject([
      { held: { workflow, key: '"new' } },
    ])
    expect(await admit(scene.store, '"new')).toEqual([newRunId])
  })

  test('as a window that is redriven', async () => {
    const ref = { partition: 0, sequenceId: 1, logTimeMs: 1 }
    const window = {
      runId: await freshId(),
      triggerId: workflow,
      stream: 'orders',
      incarnation: 1,
      partition: 0,
      firstOffset: 1,
      lastOffset: 1,
      events: 1,
      since: 1_795_000_000_000,
      input: '{"events":[{"data":{"k":"redriven"}}]}',
    }
    const by = { reason: null, by: null }
    const bad = { ...window, input: '{"events":[{"data":{"k":{}}}]}' }
    expect(await redriveWindow(scene.store, ref, bad, by)).toMatchObject({ kind: 'invalid_key' })
    expect(await redriveWindow(scene.store, ref, window, by)).toMatchObject({
      kind: 'started',
      held: { workflow, key: '"redriven' },
    })
  })
})

describe('a rule that changes', () => {
  test('a higher limit lets more in, which the sweep finds', async () => {
    const key = freshKey()
    const ids = await startHeld(scene.store, key, key, key, key)
    await admit(scene.store, key)
    const before = await keysWithRoom(scene.store, { after: null, limit: 1_000 })
    expect(before.keys).not.toContainEqual({ workflow, key })
    await registerRule(scene.store, { limit: 3, key: 'event.data.k' })
    const { keys: found } = await keysWithRoom(scene.store, { after: null, limit: 1_000 })
    expect(found).toContainEqual({ workflow, key })
    expect(await admit(scene.store, key)).toEqual(ids.slice(1, 3))
  })

  test('a lower one lets none in until enough have ended', async () => {
    await registerRule(scene.store, { limit: 2, key: 'event.data.k' })
    const key = freshKey()
    const [first, second, third] = await startHeld(scene.store, key, key, key)
    await admit(scene.store, key)
    await registerRule(scene.store, { limit: 1, key: 'event.data.k' })
    await finish(first!)
    expect(await admit(scene.store, key)).toEqual([])
    await finish(second!)
    expect(await admit(scene.store, key)).toEqual([third])
  })

  test('without the rule all are let in, however many', async () => {
    const key = freshKey()
    const ids = await startHeld(scene.store, ...Array.from({ length: 250 }, () => key))
    await registerRule(scene.store, null)
    const { keys: found } = await keysWithRoom(scene.store, { after: null, limit: 1_000 })
    expect(found).toContainEqual({ workflow, key })
    const { queued, more } = await admitRuns(scene.store, [{ workflow, key }])
    expect(more).toEqual([{ workflow, key }])
    const rest = await admitRuns(scene.store, more)
    expect(rest.more).toEqual([])
    expect([...queued, ...rest.queued].map(({ runId }) => runId)).toEqual(ids)
  })
})

test('the sweep goes through the keys page by page, whatever they hold', async () => {
  const mine = [freshKey(), freshKey(), freshKey()]
  for (const key of mine) await startHeld(scene.store, key, key)
  const found: string[] = []
  let after: Awaited<ReturnType<typeof keysWithRoom>>['next'] = null
  do {
    const page = await keysWithRoom(scene.store, { after, limit: 2 })
    found.push(...page.keys.map(({ key }) => key))
    after = page.next
  } while (after !== null)
  expect(found).toEqual(expect.arrayContaining(mine))
  expect(new Set(found).size).toBe(found.length)
})

describe('sessions that meet', () => {
  const lockKey = (key: string) => async (client: Parameters<Parameters<typeof inOrder>[1]>[0]) =>
    await run(client, lockKeysStatement, [[workflow], [key]])
  /** Holds the next admission between its statement and its commit. */
  function holdAdmission(): { reached: Promise<void>; release: () => void } {
    const reached = Promise.withResolvers<void>()
    const release = Promise.withResolvers<void>()
    let first = true
    setCheckpointHandler((name) => {
      if (name !== 'admit.before-commit' || !first) return undefined
      first = false
      reached.resolve()
      return release.promise
    })
    return { reached: reached.promise, release: () => release.resolve() }
  }

  test('two admissions of one key let in no more than one does', async () => {
    const key = freshKey()
    const [first] = await startHeld(scene.store, key, key, key)
    const answers = await inOrder<[string[], string[]]>(
      scene.store,
      lockKey(key),
      async () => await admit(scene.store, key),
      async () => await admit(scene.store, key),
    )
    expect(answers).toEqual([[first], []])
    expect(await underWay(scene.store, key)).toBe(1)
  })

  test('a run that ends while an admission is under way is followed by the next, whose admission waits for it', async () => {
    const key = freshKey()
    const [first, second, third] = await startHeld(scene.store, key, key, key)
    await admit(scene.store, key)
    const held = holdAdmission()
    const early = admit(scene.store, key)
    await held.reached
    await finish(first!)
    const late = admit(scene.store, key)
    await untilWaiting(scene.store, 1)
    held.release()
    expect(await early).toEqual([])
    expect(await late).toEqual([second])
    expect(await stateOf(third!)).toEqual(heldState)
  })

  test('runs that come while an admission is under way are let in by their own', async () => {
    const key = freshKey()
    await registerRule(scene.store, { limit: 2, key: 'event.data.k' })
    const [first] = await startHeld(scene.store, key)
    const held = holdAdmission()
    const early = admit(scene.store, key)
    await held.reached
    const [second] = await startHeld(scene.store, key)
    const late = admit(scene.store, key)
    await untilWaiting(scene.store, 1)
    held.release()
    expect(await early).toEqual([first])
    expect(await late).toEqual([second])
  })

  test.each([
    ['cancelled', cancelRuns],
    ['paused', pauseRuns],
  ])(
    'a held run that is %s while it is looked at is not let in, and its place is found',
    async (_, steer) => {
      const key = freshKey()
      const [first, second] = await startHeld(scene.store, key, key)
      const [, letIn] = await inOrder<[unknown, string[]]>(
        scene.store,
        lockRun(first!),
        async () => await steer(scene.store, [first!]),
        async () => await admit(scene.store, key),
      )
      expect(letIn).toEqual([])
      const { keys: found } = await keysWithRoom(scene.store, { after: null, limit: 1_000 })
      expect(found).toContainEqual({ workflow, key })
      expect(await admit(scene.store, key)).toEqual([second])
    },
  )

  test('any number of admissions, ends and cancels at once keep to the limit, and leave nothing behind', async () => {
    const limit = 3
    await registerRule(scene.store, { limit, key: 'event.data.k' })
    const mine = [freshKey(), freshKey()]
    const total = 120
    const ids: string[] = []
    const seen: { ended: number; most: number; atFirst?: number } = { ended: 0, most: 0 }
    const bring = async (): Promise<void> => {
      for (let at = 0; at < total; at += 10) {
        const batch = Array.from({ length: 10 }, (_, n) => mine[n % 2]!)
        ids.push(...(await startHeld(scene.store, ...batch)))
        const letIn = await admit(scene.store, ...mine)
        seen.atFirst ??= letIn.length
        await work(letIn)
      }
    }
    const work = async (letIn: string[]): Promise<void> => {
      await Promise.all(
        letIn.map(async (id, at) => {
          if (at % 3 === 2) await cancelRuns(scene.store, [id])
          else await finish(id)
          seen.ended += 1
          await work(await admit(scene.store, ...mine))
        }),
      )
    }
    const watch = async (): Promise<void> => {
      while (seen.ended < total)
        for (const key of mine) seen.most = Math.max(seen.most, await underWay(scene.store, key))
    }
    const watching = watch()
    await bring()
    await watching
    expect(seen.ended).toBe(total)
    expect(seen.atFirst).toBe(mine.length * limit)
    expect(seen.most).toBeLessThanOrEqual(limit)
  })
})
