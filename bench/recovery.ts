import { eventually } from '@headrace/testing'
import { type AppName, type AppProcess, publish, restartApp } from '../tests/harness/platform.ts'
import type { Stage } from './stage.ts'
import { median, round } from './statistics.ts'

const rounds = 3

/**
 * Seconds from a kill -9, after which the process is started again at once, to the end of a run whose event is
 * published as soon as the gateway takes it. A worker is not restarted in place: another one, already there, takes over.
 */
export async function measureRecovery(stage: Stage): Promise<Record<string, number>> {
  const { platform } = stage
  const seconds: Record<string, number> = {}
  const first = await stage.startWorker()
  await throughSeconds(stage)
  const [orchestrator] = platform.orchestrators
  const [triggerService] = platform.triggerServices
  if (!orchestrator || !triggerService) throw new Error('the stage lacks an app')
  const apps: [AppName, AppProcess, Record<string, string>, (app: AppProcess) => unknown][] = [
    [
      'gateway',
      platform.gateway,
      { HEADRACE_ORCHESTRATOR_URL: orchestrator.url },
      (app) => (platform.gateway = app),
    ],
    ['trigger-service', triggerService, {}, (app) => (platform.triggerServices = [app])],
    ['orchestrator', orchestrator, {}, (app) => (platform.orchestrators = [app])],
  ]
  for (const [name, running, env, replace] of apps) {
    let app = running
    const times: number[] = []
    for (let n = 0; n < rounds; n += 1) {
      await app.process.kill('SIGKILL')
      const startMs = performance.now()
      const starting = restartApp(name, app, platform.options, env)
      times.push((await throughSeconds(stage, startMs)) || 0)
      app = await starting
    }
    replace(app)
    seconds[name] = round(median(times))
  }
  for (const server of ['kafka', 'postgres'] as const) {
    const times: number[] = []
    for (let n = 0; n < rounds; n += 1) {
      const startMs = performance.now()
      await stage.restart(server)
      times.push(await throughSeconds(stage, startMs))
    }
    seconds[server] = round(median(times))
  }
  await first.kill('SIGTERM')
  const times: number[] = []
  for (let n = 0; n < rounds; n += 1) {
    const worker = await stage.startWorker()
    const spare = await stage.startWorker()
    await worker.kill('SIGKILL')
    times.push(await throughSeconds(stage, performance.now()))
    await spare.kill('SIGTERM')
  }
  seconds['worker'] = round(median(times))
  return seconds
}

/** Seconds since `startMs` until an event published now (as soon as it is taken) has become a completed run. */
async function throughSeconds({ platform, store }: Stage, startMs = performance.now()): Promise<number> {
  const answer = await eventually('an event is accepted', async () => {
    const one = await publish(platform.gateway.url, { topic: 'bench/throughput/recovery', data: {} }).catch(
      () => null,
    )
    return one?.status === 200 ? one : null
  })
  const [event] = answer.body.events ?? []
  await eventually(
    'its run completed',
    async () => {
      const { rowCount } = await store.general.query(
        "select from runs where trigger_id = 'bench_throughput' and partition = $1 and first_offset = $2 and status = 'completed'",
        [event?.partition, event?.sequence_id],
      )
      return rowCount === 1
    },
    { deadlineMs: 120_000 },
  )
  return (performance.now() - startMs) / 1_000
}
