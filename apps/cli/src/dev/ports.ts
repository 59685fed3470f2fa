import { createServer } from 'node:net'
import { listen } from '@headrace/service'

/** Where each part listens when the gateway listens on `port`. */
export interface DevPorts {
  gateway: number
  orchestrator: number
  gatewayManagement: number
  triggerServiceManagement: number
  orchestratorManagement: number
}

export function devPorts(port: number): DevPorts {
  return {
    gateway: port,
    orchestrator: port + 2,
    gatewayManagement: port + 1_000,
    triggerServiceManagement: port + 1_001,
    orchestratorManagement: port + 1_002,
  }
}

/**
 * Rejects with PortTakenError for the first port that another process has. Asked before anything is started: a start
 * that fails half-way because of a port would have made a data folder for nothing.
 */
export async function checkPorts(ports: DevPorts, host: string): Promise<void> {
  for (const port of Object.values(ports)) {
    const server = createServer()
    await listen(server, { host, port, change: '--port' })
    await new Promise((resolve) => server.close(resolve))
  }
}
