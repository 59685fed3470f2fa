import { join } from 'node:path'
import { createDatabase, eventually, infra, readTopic, testFolder } from '@headrace/testing'
import { openStore } from '@headrace/store'
import { afterEach, describe, expect, test } from 'vitest'
import { openGate } from '../harness/gate.ts'
import { readJournal } from '../harness/journal.ts'
import {
  type AppProcess,
  allEnded,
  endProcesses,
  listRuns,
  type Platform,
  type PlatformOptions,
  restartApp,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'
import { endOf, parked, type Place, send, waitOn } from '../harness/waits.ts'

/** P5: a death anywhere between a wait and its answer loses no answer, and gives none to the wrong wait. */

let setUps = 0
interface Setup {
  platform: Platform
  options: PlatformOptions
  url: string
  journal: string
  gate: string
}

async function setUp(): Promise<Setup> {
  const { brokers, prefix } = await infra()
  setUps += 1
  const { url: databaseUrl } = await createDatabase()
  const options = { brokers, prefix: `${prefix}-${setUps}`, databaseUrl }
  const platform = await startPlatform(options)
  const { url } = platform.gateway
  const folder = await testFolder('waits')
  const journal = join(folder, 'bodies.jsonl')
  const gate = join(folder, 'gate')
  await startWorker({
    gatewayUrl: url,
    databaseUrl,
    journal,
    workflows: ['asks', 'late', 'publishes', 'follows'],
    env: { HEADRACE_TEST_GATE: gate },
  })
  return { platform, options, url, journal, gate }
}

afterEach(endProcesses)

type Killed = 'orchestrator' | 'trigger-service'

/**
 * Starts the app again so that it dies at the point, and gives it work until it does: `work` does one thing more, and
 * resolves to a look that tells whether that is through.
 */
async function dieAt(
  { platform, options }: Setup,
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

/** Whether a run that an event starts is where nothing moves it any more but an answer; false while nobody can tell. */
const atRest =
  ({ url }: Setup, place: Place) =>
  async (): Promise<boolean> =>
    (await listRuns(url, 'asks')).some(
      ({ trigger, status }) =>
        trigger?.partition === place.partition &&
        trigger.first_sequence_id === place.sequenceId &&
        (status === 'waiting' || status === 'completed'),
    )
const completed =
  ({ url }: Setup, count: number) =>
  async (): Promise<boolean> =>
    (await listRuns(url, 'asks')).filter(({ status }) => status === 'completed').length >= count

/** Each run's end, in the order asked; no body that was stored ran again. */
async function answersOf(setup: Setup, asked: Map<string, Place>): Promise<unknown[]> {
  const outputs: unknown[] = []
  for (const place of asked.values()) outputs.push((await endOf(setup.url, 'asks', place)).output)
  expect(readJournal(setup.journal).filter(({ what }) => what === 'rerun')).toEqual([])
  return outputs
}
const ownAnswers = (asked: Map<string, Place>): unknown[] =>
  [...asked.keys()].map((topic) => expect.objectContaining({ topic, data: { for: topic } }))

describe('a run goes on with its own answer', () => {
  // Death on the way from a workflow's wait to its parked run.
  test.each(['wait.after-commit', 'wait.after-self-read', 'suspend.after-commit'])(
    'after the orchestrator was killed at %s',
    async (point) => {
      const setup = await setUp()
      const asked = new Map<string, Place>()
      await dieAt(setup, 'orchestrator', `${point}:2`, async (n) => {
        // Half of the answers come before the wait.
        const topic = `answers/${n}`
        const place = await send(setup.url, `asks/${n}`, { on: topic })
        asked.set(topic, place)
        if (n % 2 === 0) await send(setup.url, topic, { for: topic })
        return atRest(setup, place)
      })
      let n = 0
      for (const topic of asked.keys()) if (n++ % 2 === 1) await send(setup.url, topic, { for: topic })
      expect(await answersOf(setup, asked)).toEqual(ownAnswers(asked))
    },
  )

  // Death on the way from an accepted answer to the run that waits for it.
  test.each([
    ['orchestrator', 'responses.after-insert'],
    ['orchestrator', 'answer.after-match'],
    ['trigger-service', 'projection.before-cursor'],
    ['trigger-service', 'projection.after-cursor'],
  ] as const)('after the %s was killed at %s', async (name, point) => {
    const setup = await setUp()
    const asked = new Map<string, Place>()
    for (let n = 0; n < 20; n += 1) {
      const topic = `answers/${n}`
      asked.set(topic, await send(setup.url, `asks/${n}`, { on: topic }))
    }
    for (const place of asked.values()) await parked(setup.url, 'asks', place)
    const topics = [...asked.keys()]
    await dieAt(setup, name, `${point}:2`, async (n) => {
      const topic = topics.shift()
      if (topic === undefined) throw new Error('it did not die')
      await send(setup.url, topic, { for: topic })
      return completed(setup, n + 1)
    })
    for (const topic of topics) await send(setup.url, topic, { for: topic })
    expect(await answersOf(setup, asked)).toEqual(ownAnswers(asked))
  })

  test('after the trigger service was killed at projection.gap-before-cursor', async () => {
    const setup = await setUp()
    const { url, platform, options, journal, gate } = setup
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
    await restartApp('trigger-service', dying, options)
    expect(await endOf(url, 'late', early)).toMatchObject({ output: { data: { for: 'the early one' } } })
  })
})

describe('what a workflow publishes starts a run once, though the record is there twice', () => {
  test.each(['at once', 'after 25 h'])(
    'when the orchestrator was killed between sending and storing, and the run goes on %s',
    async (when) => {
      const setup = await setUp()
      const { url, options, platform } = setup
      let published = 0
      const [orchestrator] = platform.orchestrators
      await orchestrator!.process.kill('SIGTERM')
      const dying = await restartApp('orchestrator', orchestrator!, options, {
        HEADRACE_CRASH_POINT: 'publish.after-send-before-reply',
      })
      await send(url, `publishes/${(published += 1)}`, { on: 'published/it' })
      expect((await dying.process.exit).signal).toBe('SIGKILL')
      const store = openStore({ url: options.databaseUrl, applicationName: 'test' })
      await eventually('the first copy is known', async () => {
        const { rowCount } = await store.general.query(`select from event_ids where source = 'headrace:run'`)
        return rowCount === 1
      })
      if (when === 'after 25 h') {
        // The row is a day older than any other id would be kept; the sweep comes with the next trigger service.
        await store.general.query(`update event_ids set log_time = log_time - interval '25 hours'`)
        const [service] = platform.triggerServices
        await service!.process.kill('SIGTERM')
        await restartApp('trigger-service', service!, options)
      }
      await store.close()
      await restartApp('orchestrator', dying, options)
      await allEnded(url, 'publishes', 1)
      const records = (await readTopic([...options.brokers], `${options.prefix}.events.published`)).map(
        ({ headers }) => headers['ce_id'],
      )
      expect(records).toHaveLength(2)
      expect(new Set(records).size).toBe(1)
      // A last event on each partition is a run, so all before it was looked at.
      const ends = await Promise.all(
        [0, 1, 2, 3, 4, 5, 6, 7].map(async (n) => await send(url, 'published/end', { n }, `key-${n}`)),
      )
      const runs = await allEnded(url, 'follows', ends.length + 1)
      expect(runs).toHaveLength(ends.length + 1)
    },
  )
})
