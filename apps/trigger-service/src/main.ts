import { createLogger, createMetrics, type Logger, runMain, toStoppable } from '@headrace/service'
import { parseTriggerServiceConfig } from './config.ts'
import { startTriggerService } from './trigger-service.ts'

/** The trigger service as a process of its own: settings from `env`, stops on SIGTERM. Ends the process. */
export async function main(env: NodeJS.ProcessEnv): Promise<never> {
  let log: Logger | null = null
  return await runMain({
    log: () => log,
    start: async () => {
      const config = parseTriggerServiceConfig(env)
      log = createLogger({ name: 'trigger-service', level: config.logLevel })
      return toStoppable(
        await startTriggerService({ config, log, metrics: createMetrics({ process: true }) }),
      )
    },
  })
}
