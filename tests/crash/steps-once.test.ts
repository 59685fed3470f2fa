import { join } from 'node:path'
import {
  createDatabase,
  eventually,
  infra,
  startOwnPostgres,
  testFolder,
  type TestProcess,
} from '@headrace/testing'
import { migrate } from '@headrace/store'
import { beforeAll, describe, expect, test } from 'vitest'
import { readJournal } from '../harness/journal.ts'
import {
  allEnded,
  type Platform,
  type PlatformOptions,
  publish,
  restartApp,
  startPlatform,
  startWorker,
} from '../harness/platform.ts'

/** P3: once a step's result is stored its body is not run again; and every run ends once, whatever was killed. */

const events = (topic: string, count: number) => ({
  events: Array.from({ length: count }, (_, n) => ({ topic: `${topic}/${n % 8}`, data: { n } })),
})

interface Setup {
  platform: Platform
  options: PlatformOptions
  journal: string
  /** Events sent to it so far, each of which is a run. */
  published: number
}

async function setUp(options: PlatformOptions): Promise<Setup> {
  return {
    platform: await startPlatform(options),
    options,
    journal: join(await testFolder('journal'), 'bodies.jsonl'),
    published: 0,
  }
}

const worker = async (
  { platform, options, journal }: Setup,
  env: Record<string, string> = {},
  waitUntilLive = true,
): Promise<TestProcess> =>
  await startWorker({
    gatewayUrl: platform.gateway.url,
    databaseUrl: options.databaseUrl,
    journal,
    workflows: ['three_steps'],
    env,
    waitUntilLive,
  })

async function send(setup: Setup, count: number): Promise<void> {
  expect((await publish(setup.platform.gateway.url, events('load', count))).status).toBe(200)
  setup.published += count
}

/** Publishes a little at a time until all have died: how many events share one batch is not ours to say. */
async function publishUntil(exits: Promise<unknown>[], setup: Setup, atATime: number): Promise<void> {
  const { journal } = setup
  const dead = { all: false }
  const ending = Promise.all(exits).finally(() => (dead.all = true))
  ending.catch(() => {})
  while (!dead.all) {
    const bodies = readJournal(journal).length
    await send(setup, atATime)
    await eventually(
      'the events reached a worker, or all are dead',
      () => dead.all || readJournal(journal).length > bodies,
    )
  }
  await ending
}

async function expectOnce({ platform, journal, published: runs }: Setup): Promise<void> {
  const ended = await allEnded(platform.gateway.url, 'three_steps', runs)
  expect(ended.filter((run) => run.status !== 'completed')).toEqual([])
  expect(ended).toHaveLength(runs)
  const entries = readJournal(journal)
  expect(entries.filter((entry) => entry.what === 'rerun')).toEqual([])
  // Each of the three bodies of each run did run.
  const bodies = new Set(
    entries.filter((entry) => entry.what === 'body').map(({ run, step }) => `${run}/${step}`),
  )
  expect(bodies.size).toBe(runs * 3)
}

describe('a stored step is not run again', () => {
  let setup: Setup
  beforeAll(async () => {
    setup = await setUp({ ...(await infra()), databaseUrl: (await createDatabase()).url })
  })

  test('after its worker was killed between the commit and the workflow’s next line, 21 times', async () => {
    const { url } = setup.platform.gateway
    const dead: TestProcess[] = []
    // Three at a time, each followed by the next as soon as it is dead. Few runs in hand: those that two deaths have met
    // are taken alone, one after the other.
    const dieSevenTimes = async (slot: number): Promise<void> => {
      for (let n = 0; n < 7; n += 1) {
        const env = {
          HEADRACE_CRASH_POINT: `after-step-commit-before-reply:${slot + (n % 3)}`,
          HEADRACE_TEST_CONCURRENCY: '3',
        }
        const dying = await worker(setup, env, false)
        await dying.exit
        dead.push(dying)
      }
    }
    const dying = [1, 2, 3].map(dieSevenTimes)
    // The first registration makes the trigger; what is published before it starts nothing.
    await eventually('the trigger is there', async () => (await fetch(`${url}/v1/triggers/three_steps`)).ok)
    await publishUntil(dying, setup, 4)
    expect(dead).toHaveLength(21)
    for (const { exit, stderr } of dead) {
      expect((await exit).signal).toBe('SIGKILL')
      expect(stderr.map((line) => line.split(' ').slice(0, 2))).toContainEqual([
        'HEADRACE_CRASH_POINT',
        'after-step-commit-before-reply',
      ])
    }
    const last = await worker(setup)
    await expectOnce(setup)
    await last.kill('SIGTERM')
  })

  describe('after the orchestrator was killed', () => {
    beforeAll(async () => {
      await worker(setup)
    })

    test.each([
      'commands.before-commit',
      'commands.after-commit-before-reply',
      'claim.before-commit',
      'claim.after-commit-before-reply',
    ])('at %s', async (crashPoint) => {
      const { platform, options } = setup
      let [orchestrator] = platform.orchestrators
      await orchestrator!.process.kill('SIGTERM')
      for (const nth of [2, 3, 4]) {
        // What the one before it left may kill it before it says that it is ready.
        const env = { HEADRACE_CRASH_POINT: `${crashPoint}:${nth}` }
        orchestrator = await restartApp('orchestrator', orchestrator!, options, env, { ready: false })
        await publishUntil([orchestrator.process.exit], setup, 8)
        expect((await orchestrator.process.exit).signal).toBe('SIGKILL')
      }
      platform.orchestrators = [await restartApp('orchestrator', orchestrator!, options)]
      await expectOnce(setup)
    })
  })

  test('after Postgres was killed and started again in the middle', async () => {
    const postgres = await startOwnPostgres()
    await migrate(postgres.url)
    // Topics and groups of its own: the trigger service of the others would take its partitions.
    const { brokers, prefix } = await infra()
    const own = await setUp({ brokers, prefix: `${prefix}-postgres`, databaseUrl: postgres.url })
    await worker(own)
    for (let round = 0; round < 3; round += 1) {
      const bodiesBefore = readJournal(own.journal).length
      await send(own, 200)
      await eventually('bodies run', () => readJournal(own.journal).length > bodiesBefore)
      await postgres.kill()
      await postgres.refused()
      await postgres.start()
    }
    await expectOnce(own)
  })
})
