import { createLogger, createMetrics, type Environment, runMain, toStoppable } from '@headrace/service'
import { parseOrchestratorConfig } from './config.ts'
import { startOrchestrator } from './start-orchestrator.ts'

/** The orchestrator as a process of its own: settings from the environment, SIGTERM stops it. Ends the process. */
export async function main(env: Environment): Promise<never> {
  let log: ReturnType<typeof createLogger> | null = null
  return await runMain({
    log: () => log,
    start: async (signal) => {
      const config = parseOrchestratorConfig(env)
      log = createLogger({ name: 'orchestrator', level: config.logLevel })
      const metrics = createMetrics({ process: true })
      return toStoppable(await startOrchestrator({ config, log, metrics, signal }))
    },
  })
}
