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
import { afterEach, describe, expect, test } from 'vitest'
import { readJournal } from '../harness/journal.ts'
import {
  allEnded,
  endProcesses,
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
}

let setUps = 0

/** Each test has topics and groups of its own: a trigger service of the one before would take its partitions. */
async function setUp(databaseUrl: string): Promise<Setup> {
  const { brokers, prefix } = await infra()
  setUps += 1
  const options = { brokers, prefix: `${prefix}-${setUps}`, databaseUrl }
  return {
    platform: await startPlatform(options),
    options,
    journal: join(await testFolder('journal'), 'bodies.jsonl'),
  }
}

/** Publishes a little at a time until all have died: how many events share one batch is not ours to say. */
async function publishUntil(
  exits: Promise<unknown>[],
  { journal }: Setup,
  send: () => Promise<void>,
): Promise<void> {
  const dead = { all: false }
  const ending = Promise.all(exits).then(() => (dead.all = true))
  while (!dead.all) {
    const bodies = readJournal(journal).length
    await send()
    await eventually(
      'the events reached a worker, or all are dead',
      () => dead.all || readJournal(journal).length > bodies,
    )
  }
  await ending
}

async function expectOnce({ platform, journal }: Setup, runs: number): Promise<void> {
  const ended = await allEnded(platform.gateway.url, 'three_steps', runs)
  expect(ended.map((run) => run.status)).toEqual(ended.map(() => 'completed'))
  expect(ended).toHaveLength(runs)
  const entries = readJournal(journal)
  expect(entries.filter((entry) => entry.what === 'rerun')).toEqual([])
  // Each of the three bodies of each run did run.
  const bodies = new Set(
    entries.filter((entry) => entry.what === 'body').map(({ run, step }) => `${run}/${step}`),
  )
  expect(bodies.size).toBe(runs * 3)
}

afterEach(endProcesses)

describe('a stored step is not run again', () => {
  test('after its worker was killed between the commit and the workflow’s next line, 21 times', async () => {
    const setup = await setUp((await createDatabase()).url)
    const { platform, options, journal } = setup
    const { url } = platform.gateway
    const start = async (env: Record<string, string>): Promise<TestProcess> =>
      await startWorker({
        gatewayUrl: url,
        databaseUrl: options.databaseUrl,
        journal,
        workflows: ['three_steps'],
        env,
        waitUntilLive: false,
      })
    let published = 0
    const send = async (): Promise<void> => {
      expect((await publish(url, events('load', 4))).status).toBe(200)
      published += 4
    }
    // Three die at a time: after a kill -9 Kafka waits out the session, which is most of the time this takes.
    let deaths = 0
    for (let round = 0; round < 7; round += 1) {
      const dying = await Promise.all(
        [1, 2, 3].map(
          async (n) =>
            await start({ HEADRACE_CRASH_POINT: `after-step-commit-before-reply:${n + (round % 3)}` }),
        ),
      )
      // The first registration makes the trigger; what is published before it starts nothing.
      if (round === 0)
        await eventually(
          'the trigger is there',
          async () => (await fetch(`${url}/v1/triggers/three_steps`)).ok,
        )
      await publishUntil(
        dying.map(async (worker) => await worker.exit),
        setup,
        send,
      )
      for (const worker of dying) {
        expect((await worker.exit).signal).toBe('SIGKILL')
        expect(
          worker.stderr.some((line) =>
            line.startsWith('HEADRACE_CRASH_POINT after-step-commit-before-reply'),
          ),
        ).toBe(true)
        deaths += 1
      }
    }
    await start({})
    await expectOnce(setup, published)
    expect(deaths).toBe(21)
  })

  test.each([
    'commands.before-commit',
    'commands.after-commit-before-reply',
    'claim.before-commit',
    'claim.after-commit-before-reply',
  ])('after the orchestrator was killed at %s', async (crashPoint) => {
    const setup = await setUp((await createDatabase()).url)
    const { platform, options, journal } = setup
    await startWorker({
      gatewayUrl: platform.gateway.url,
      databaseUrl: options.databaseUrl,
      journal,
      workflows: ['three_steps'],
    })
    let [orchestrator] = platform.orchestrators
    let deaths = 0
    const rounds = 3
    let published = 0
    const send = async (): Promise<void> => {
      expect((await publish(platform.gateway.url, events('load', 8))).status).toBe(200)
      published += 8
    }
    for (let round = 0; round < rounds; round += 1) {
      await orchestrator!.process.kill('SIGTERM')
      orchestrator = await restartApp('orchestrator', orchestrator!, options, {
        HEADRACE_CRASH_POINT: `${crashPoint}:${2 + round}`,
      })
      await publishUntil([orchestrator.process.exit], setup, send)
      expect((await orchestrator.process.exit).signal).toBe('SIGKILL')
      deaths += 1
      orchestrator = await restartApp('orchestrator', orchestrator, options)
    }
    await expectOnce(setup, published)
    expect(deaths).toBe(rounds)
  })

  test('after Postgres was killed and started again in the middle', async () => {
    const postgres = await startOwnPostgres()
    await migrate(postgres.url)
    const setup = await setUp(postgres.url)
    const { platform, options, journal } = setup
    await startWorker({
      gatewayUrl: platform.gateway.url,
      databaseUrl: options.databaseUrl,
      journal,
      workflows: ['three_steps'],
    })
    const rounds = 3
    const perRound = 200
    for (let round = 0; round < rounds; round += 1) {
      const bodiesBefore = readJournal(journal).length
      expect((await publish(platform.gateway.url, events('load', perRound))).status).toBe(200)
      await eventually('bodies run', () => readJournal(journal).length > bodiesBefore)
      await postgres.kill()
      await postgres.refused()
      await postgres.start()
    }
    await expectOnce(setup, rounds * perRound)
  })
})
