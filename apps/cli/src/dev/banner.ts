import type { DevPorts } from './ports.ts'

export interface BannerFacts {
  version: string
  ports: DevPorts
  kafka: { brokers: string[]; reason: string }
  postgres: { address: string; reason: string }
  schemaRegistry: { url: string; reason: string } | null
  dataDir: string
  worker: string | null
}

/** What runs where and why, and a first command that works as printed: at most 13 lines. */
export function banner({
  version,
  ports,
  kafka,
  postgres,
  schemaRegistry,
  dataDir,
  worker,
}: BannerFacts): string[] {
  const body = '{"topic":"orders/created","event_type":"created","data":{"order_id":"123","total":99.99}}'
  return [
    `Headrace ${version} is ready`,
    `  gateway       http://localhost:${ports.gateway}   management :${ports.gatewayManagement}`,
    `  orchestrator  http://localhost:${ports.orchestrator}   management :${ports.orchestratorManagement}`,
    `  triggers      trigger service            management :${ports.triggerServiceManagement}`,
    `  Kafka         ${kafka.brokers.join(',')}   ${kafka.reason}`,
    `  Postgres      ${postgres.address}   ${postgres.reason}`,
    ...(schemaRegistry === null ? [] : [`  schemas       ${schemaRegistry.url}   ${schemaRegistry.reason}`]),
    `  data, logs    ${dataDir}   kept; --reset starts empty`,
    `  worker        ${worker ?? 'none; start yours with HEADRACE_URL'}`,
    '',
    `curl http://localhost:${ports.gateway}/v1/events -H 'content-type: application/json' \\`,
    `  -d '${body}'`,
    '',
  ]
}
