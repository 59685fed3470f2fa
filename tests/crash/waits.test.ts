import { join } from 'node:path'
import type { WireRun } from '@headrace/schemas'
import { createDatabase, eventually, infra, readTopic, testFolder } from '@headrace/testing'
import { openStore } from '@headrace/store'
import { beforeAll, describe, expect, test } from 'vitest'
import { openGate } from '../harness/gate.ts'
import { readJournal } from '../harness/journal.ts'
import {
  type AppProcess,
  allEnded,
  listRuns,
  type Platform,
  type PlatformOptions,
  restartApp,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'
import { endOf, parked, type Place, send, waitOn } from '../harness/waits.ts'

/** P5: a death anywhere between a wait and its answer loses no answer, and gives none to the wrong wait. */

// One platform for all: each death is another process's, and each test has topics of its own.
let platform: Platform
let options: PlatformOptions
let url: string
let journal: string
let gate: string
beforeAll(async () => {
  const { url: databaseUrl } = await createDatabase()
  options = { ...(await infra()), databaseUrl }
  platform = await startPlatform(options)
  url = platform.gateway.url
  const folder = await testFolder('waits')
  journal = join(folder, 'bodies.jsonl')
  gate = join(folder, 'gate')
  await startWorker({
    gatewayUrl: url,
    databaseUrl,
    journal,
    workflows: ['asks', 'late', 'publishes', 'follows', 'ships'],
    env: { HEADRACE_TEST_GATE: gate },
  })
})

type Killed = 'orchestrator' | 'trigger-service'

/**
 * Starts the app again so that it dies at the point, and gives it work until it does: `work` does one thing more, and
 * resolves to a look that tells whether that is through.
 */
async function dieAt(
  name: Killed,
  point: string,
  work: (n: number) => Promise<() => Promise<boolean>>,
): Promise<void> {
  const apps: AppProcess[] = name === 'orchestrator' ? platform.orchestrators : platform.triggerServices
  await apps[0]!.process.kill('SIGTERM')
  const dying = await restartApp(name, apps[0]!, options, { HEADRACE_CRASH_POINT: point })
  const state = { dead: false }
  const death = dying.process.exit.then(({ signal }) => {
    state.dead = true
    return signal
  })
  for (let n = 0; !state.dead; n += 1) {
    const through = await work(n)
    await eventually('it is dead, or has no more to do', async () => state.dead || (await through()))
  }
  expect(await death).toBe('SIGKILL')
  apps[0] = await restartApp(name, dying, options)
}

/** Whether the run that an event started is in one of these states; false while nobody can tell. */
const isIn =
  (workflow: string, place: Place, ...states: WireRun['status'][]) =>
  async (): Promise<boolean> =>
    (await listRuns(url, workflow)).some(
      ({ trigger, status }) =>
        trigger?.partition === place.partition &&
        trigger.first_sequence_id === place.sequenceId &&
        states.includes(status),
    )

/** Each run's end, in the order asked; no body that was stored ran again. */
async function answersOf(asked: Map<string, Place>): Promise<unknown[]> {
  const outputs: unknown[] = []
  for (const place of asked.values()) outputs.push((await endOf(url, 'asks', place)).output)
  expect(readJournal(journal).filter(({ what }) => what === 'rerun')).toEqual([])
  return outputs
}
const ownAnswers = (asked: Map<string, Place>): unknown[] =>
  [...asked.keys()].map((topic) => expect.objectContaining({ topic, data: { for: topic } }))

describe('a run goes on with its own answer', () => {
  // Death on the way from a workflow's wait to its parked run.
  test.each(['wait.after-commit', 'wait.after-self-read', 'suspend.after-commit'])(
    'after the orchestrator was killed at %s',
    async (point) => {
      const asked = new Map<string, Place>()
      await dieAt('orchestrator', `${point}:2`, async (n) => {
        // Half of the answers come before the wait.
        const topic = `answers/${point}/${n}`
        const place = await send(url, `asks/${n}`, { on: topic })
        asked.set(topic, place)
        if (n % 2 === 0) await send(url, topic, { for: topic })
        return isIn('asks', place, 'waiting', 'completed')
      })
      let n = 0
      for (const topic of asked.keys()) if (n++ % 2 === 1) await send(url, topic, { for: topic })
      expect(await answersOf(asked)).toEqual(ownAnswers(asked))
    },
  )

  // Death on the way from an accepted answer to the run that waits for it.
  test.each([
    ['orchestrator', 'responses.after-insert'],
    ['orchestrator', 'answer.after-match'],
    ['trigger-service', 'projection.before-cursor'],
    ['trigger-service', 'projection.after-cursor'],
  ] as const)('after the %s was killed at %s', async (name, point) => {
    const asked = new Map<string, Place>()
    for (let n = 0; n < 20; n += 1) {
      const topic = `answers/${point}/${n}`
      asked.set(topic, await send(url, `asks/${n}`, { on: topic }))
    }
    for (const place of asked.values()) await parked(url, 'asks', place)
    const left = [...asked]
    await dieAt(name, `${point}:2`, async () => {
      const next = left.shift()
      if (next === undefined) throw new Error('it did not die')
      const [topic, place] = next
      await send(url, topic, { for: topic })
      return isIn('asks', place, 'completed')
    })
    for (const [topic] of left) await send(url, topic, { for: topic })
    expect(await answersOf(asked)).toEqual(ownAnswers(asked))
  })

  test('after the trigger service was killed at projection.gap-before-cursor', async () => {
    // Two runs wait on one stream. The first began earlier and comes to its wait later; its answer lies before all that
    // was projected for the second.
    const early = await send(url, 'late/1', { on: 'gap/early' })
    await eventually('it is held before its wait', () =>
      readJournal(journal).some(({ step }) => step === 'held'),
    )
    await send(url, 'gap/early', { for: 'the early one' })
    await send(url, 'asks/1', { on: 'gap/other' })
    await waitOn(url, 'gap/other')
    const [service] = platform.triggerServices
    await service!.process.kill('SIGTERM')
    const dying = await restartApp('trigger-service', service!, options, {
      HEADRACE_CRASH_POINT: 'projection.gap-before-cursor',
    })
    openGate(gate)
    expect((await dying.process.exit).signal).toBe('SIGKILL')
    await waitOn(url, 'gap/early', 'pending')
    platform.triggerServices = [await restartApp('trigger-service', dying, options)]
    expect(await endOf(url, 'late', early)).toMatchObject({ output: { data: { for: 'the early one' } } })
  })
})

describe('an event cancels the run of its order once, and no other', () => {
  const cancelled = 'cancelled cancelled_by_event'
  /** How the runs of these events ended, each of which has one. */
  async function endsOf(places: Place[]): Promise<string[]> {
    const ends: string[] = []
    for (const place of places) {
      const { status, error } = await endOf(url, 'ships', place)
      const runs = (await listRuns(url, 'ships')).filter(
        ({ trigger }) =>
          trigger?.partition === place.partition && trigger.first_sequence_id === place.sequenceId,
      )
      expect(runs).toHaveLength(1)
      ends.push(error === null ? status : `${status} ${error.code}`)
    }
    return ends
  }

  test('after the trigger service was killed between a run and what cancels it', async () => {
    const places: Place[] = []
    await dieAt('trigger-service', 'start.before-cancel-waits:2', async (n) => {
      const order = `begun-${n}`
      const place = await send(url, 'ships/created', { order, customer: order })
      places.push(place)
      // The run that dies with its service has its event before it is there.
      await send(url, n === 1 ? 'ships/cancelled' : `paid/${order}`, { order })
      return isIn('ships', place, 'completed', 'cancelled')
    })
    expect(await endsOf(places)).toEqual(places.map((_, n) => (n === 1 ? cancelled : 'completed')))
  })

  test('after the orchestrator was killed when it had, and the next run of its key is let in', async () => {
    const pairs: { order: string; first: Place; next: Place }[] = []
    for (let n = 0; n < 4; n += 1) {
      const [order, customer] = [`one-${n}`, `customer-${n}`]
      const first = await send(url, 'ships/created', { order, customer }, customer)
      const next = await send(url, 'ships/created', { order: `next-${n}`, customer }, customer)
      pairs.push({ order, first, next })
    }
    for (const { first } of pairs) await parked(url, 'ships', first)
    const left = [...pairs]
    await dieAt('orchestrator', 'cancel.after-commit:2', async () => {
      const pair = left.shift()
      if (pair === undefined) throw new Error('it did not die')
      await send(url, 'ships/cancelled', { order: pair.order })
      return isIn('ships', pair.first, 'cancelled')
    })
    for (const { order } of left) await send(url, 'ships/cancelled', { order })
    expect(await endsOf(pairs.map(({ first }) => first))).toEqual(pairs.map(() => cancelled))
    for (const n of pairs.keys()) await send(url, `paid/next-${n}`, {})
    expect(await endsOf(pairs.map(({ next }) => next))).toEqual(pairs.map(() => 'completed'))
  })
})

describe('what a workflow publishes starts a run once, though the record is there twice', () => {
  test.each(['at once', 'after 25 h'])(
    'when the orchestrator was killed between sending and storing, and the run goes on %s',
    async (when) => {
      const topic = `published/${when.replaceAll(' ', '-')}`
      const before = (await listRuns(url, 'follows')).length
      const [orchestrator] = platform.orchestrators
      await orchestrator!.process.kill('SIGTERM')
      const dying = await restartApp('orchestrator', orchestrator!, options, {
        HEADRACE_CRASH_POINT: 'publish.after-send-before-reply',
      })
      const place = await send(url, 'publishes/it', { on: topic })
      expect((await dying.process.exit).signal).toBe('SIGKILL')
      const copies = async (): Promise<string[]> =>
        (await readTopic([...options.brokers], `${options.prefix}.events.published`))
          .filter(({ headers }) => headers['ce_subject'] === topic)
          .map(({ headers }) => headers['ce_id'] ?? '')
      const [id] = await copies()
      const store = openStore({ url: options.databaseUrl, applicationName: 'test' })
      await eventually('the first copy is known', async () => {
        const { rowCount } = await store.general.query(`select from event_ids where id = $1`, [id])
        return rowCount === 1
      })
      if (when === 'after 25 h') {
        // The row is a day older than any other id would be kept; the sweep comes with the next trigger service.
        await store.general.query(
          `update event_ids set log_time = log_time - interval '25 hours' where id = $1`,
          [id],
        )
        await platform.triggerServices[0]!.process.kill('SIGTERM')
        platform.triggerServices = [
          await restartApp('trigger-service', platform.triggerServices[0]!, options),
        ]
      }
      await store.close()
      platform.orchestrators = [await restartApp('orchestrator', dying, options)]
      await endOf(url, 'publishes', place)
      expect(await copies()).toEqual([id, id])
      // A last event on each partition is a run, so all before it was looked at.
      const ends = await Promise.all(
        [0, 1, 2, 3, 4, 5, 6, 7].map(async (n) => await send(url, 'published/end', { n }, `key-${n}`)),
      )
      expect(await allEnded(url, 'follows', before + ends.length + 1)).toHaveLength(before + ends.length + 1)
    },
  )
})
