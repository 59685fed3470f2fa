import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LocalKafka, type LocalPostgres, startKafka, startPostgres } from '@headrace/local'
import { migrate, openStore, type Store } from '@headrace/store'
import { endEverything, eventually, startProcess, type TestProcess } from '@headrace/testing'
import { liveWorkers, type Platform, startPlatform } from '../tests/harness/platform.ts'

/** Kafka (1 GB, G1), Postgres and the three apps in processes of their own; one for all measurements. */
export interface Stage {
  folder: string
  kafka: LocalKafka
  postgres: LocalPostgres
  store: Store
  platform: Platform
  journal: string
  startWorker(concurrency?: number): Promise<TestProcess>
  /** kill -9, and at once the same server again on the same port and data. */
  restart(server: 'kafka' | 'postgres'): Promise<void>
  end(): Promise<void>
}

export async function openStage(): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'headrace-bench-'))
  const settings = { dataDir: folder, env: process.env, onProgress: console.error }
  const begin = {
    kafka: async () => await startKafka({ ...settings, large: true }),
    postgres: async () =>
      await startPostgres({ ...settings, settings: { shared_buffers: '512MB', max_wal_size: '4GB' } }),
  }
  const [kafka, postgres] = await Promise.all([begin.kafka(), begin.postgres()])
  await migrate(postgres.url)
  const store = openStore({ url: postgres.url, applicationName: 'bench' })
  const platform = await startPlatform({
    brokers: kafka.brokers,
    prefix: 'headrace',
    databaseUrl: postgres.url,
    env: { HEADRACE_LOG_LEVEL: 'warn' },
  })
  const journal = join(folder, 'first-steps.txt')
  let builds = 0
  const stage: Stage = {
    folder,
    kafka,
    postgres,
    store,
    platform,
    journal,
    startWorker: async (concurrency) => {
      builds += 1
      const build = `bench-${builds}`
      const worker = await startProcess({
        name: 'bench worker',
        args: ['--conditions=@headrace/source', 'bench/worker.ts'],
        env: {
          HEADRACE_URL: platform.gateway.url,
          HEADRACE_APP: 'bench',
          HEADRACE_BUILD_ID: build,
          HEADRACE_TEST_JOURNAL: journal,
          ...(concurrency === undefined ? {} : { HEADRACE_TEST_CONCURRENCY: String(concurrency) }),
        },
      })
      await eventually('the worker has partitions', async () =>
        (await liveWorkers(platform.gateway.url)).some(
          (one) => one.build === build && one.partitions.length > 0,
        ),
      )
      return worker
    },
    restart: async (server) => {
      await stage[server].kill()
      if (server === 'kafka') stage.kafka = await begin.kafka()
      else stage.postgres = await begin.postgres()
    },
    end: async () => {
      await endEverything()
      await store.close()
      await stage.postgres.stop()
      await stage.kafka.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return stage
}
