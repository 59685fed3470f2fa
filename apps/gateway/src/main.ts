import { createLogger, createMetrics, type Logger, runMain, toStoppable } from '@headrace/service'
import { parseGatewayConfig } from './config.ts'
import { startGateway } from './gateway.ts'

/** The gateway as a process of its own: settings from `env`, stops on SIGTERM. Ends the process. */
export async function main(env: NodeJS.ProcessEnv): Promise<never> {
  let log: Logger | null = null
  return await runMain({
    log: () => log,
    start: async () => {
      const config = parseGatewayConfig(env)
      log = createLogger({ name: 'gateway', level: config.logLevel })
      return toStoppable(await startGateway({ config, log, metrics: createMetrics({ process: true }) }))
    },
  })
}
