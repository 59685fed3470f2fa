import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError, type Environment } from '@headrace/service'
import type { DevPorts } from './ports.ts'

export interface DevServers {
  brokers: string[]
  /** The broker is one that we started: a replication factor above 1 cannot be had. */
  ownKafka: boolean
  databaseUrl: string
  /** Null: none. */
  schemaRegistryUrl: string | null
}

export interface DevEnvironments {
  gateway: NodeJS.ProcessEnv
  triggerService: NodeJS.ProcessEnv
  orchestrator: NodeJS.ProcessEnv
  worker: NodeJS.ProcessEnv
}

const loopback = new Set(['127.0.0.1', 'localhost', '::1'])

/** What each part is told: the caller's own settings, under what `dev` decides. */
export function appEnvironments(env: Environment, ports: DevPorts, servers: DevServers): DevEnvironments {
  const host = env['HEADRACE_HOST'] ?? '127.0.0.1'
  const auth = env['HEADRACE_AUTH'] ?? 'off'
  if (!loopback.has(host) && auth !== 'on') {
    throw new ConfigError([
      {
        variable: 'HEADRACE_HOST',
        message: `dev binds loopback only, not ${host}; set HEADRACE_AUTH=on to be reached from elsewhere`,
      },
    ])
  }
  const apps = {
    ...env,
    HEADRACE_HOST: host,
    HEADRACE_AUTH: auth,
    HEADRACE_KAFKA_BROKERS: servers.brokers.join(','),
    HEADRACE_DATABASE_URL: servers.databaseUrl,
    ...(servers.schemaRegistryUrl === null
      ? {}
      : { HEADRACE_SCHEMA_REGISTRY_URL: servers.schemaRegistryUrl }),
    HEADRACE_KAFKA_REPLICATION_FACTOR:
      env['HEADRACE_KAFKA_REPLICATION_FACTOR'] ?? (servers.ownKafka ? '1' : '-1'),
    HEADRACE_ORCHESTRATOR_URL: `http://127.0.0.1:${ports.orchestrator}`,
  }
  return {
    gateway: {
      ...apps,
      HEADRACE_PORT: String(ports.gateway),
      HEADRACE_MANAGEMENT_PORT: String(ports.gatewayManagement),
    },
    triggerService: { ...apps, HEADRACE_MANAGEMENT_PORT: String(ports.triggerServiceManagement) },
    orchestrator: {
      ...apps,
      HEADRACE_PORT: String(ports.orchestrator),
      HEADRACE_MANAGEMENT_PORT: String(ports.orchestratorManagement),
    },
    // The worker is set like any other: by the platform's address; the rest comes with its registration.
    worker: {
      NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'),
      ...env,
      HEADRACE_URL: `http://127.0.0.1:${ports.gateway}`,
    },
  }
}
