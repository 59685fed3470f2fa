import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { securitySettings } from '@headrace/broker'
import { parseGatewayConfig } from '@headrace/gateway'
import { parseOrchestratorConfig } from '@headrace/orchestrator'
import { registrySettings } from '@headrace/registry'
import { KNOWN_SETTINGS } from '@headrace/service'
import { REPOSITORY } from '@headrace/testing'
import { parseTriggerServiceConfig } from '@headrace/trigger-service'
import { beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { findHelm, type KubernetesObject, lint, modesOf, objectsOf, render, renderText } from './helm.ts'
import { containersOf, type Deployment, deploymentsOf, podsOf } from './pods.ts'

const MONITORING = 'monitoring.coreos.com/v1'
const charts = ['headrace', 'headrace-worker'] as const
const modes = (
  await Promise.all(charts.map(async (chart) => (await modesOf(chart)).map((mode) => ({ chart, mode }))))
).flat()

/** Go fetches and builds helm once, on a slow machine for minutes. */
const HELM_DEADLINE_MS = 1_200_000
beforeAll(async () => {
  await findHelm()
}, HELM_DEADLINE_MS)

const refusal = async (chart: string, mode: string, ...set: string[]): Promise<string> =>
  await renderText(chart, { mode, set }).then(
    () => 'rendered',
    (error: unknown) => String(error),
  )

const nameOf = (object: KubernetesObject): string => `${object.kind}/${object.metadata.name}`

/** What all apps are told; the worker's chart has no such map. */
function settingsOf(objects: KubernetesObject[]): Record<string, string> {
  const map = objects.find((object) => nameOf(object) === 'ConfigMap/release-headrace')
  return (map?.['data'] ?? {}) as Record<string, string>
}

const appsOf = (objects: KubernetesObject[]): Deployment[] =>
  deploymentsOf(objects).filter(({ metadata }) => !metadata.name.includes('-demo-'))

describe.each(modes)('$chart, $mode', ({ chart, mode }) => {
  let text: string
  let objects: KubernetesObject[]
  beforeAll(async () => {
    text = await renderText(chart, { mode, apis: [MONITORING] })
    objects = objectsOf(text)
  })

  test('lints without a warning, and renders twice to the same bytes', async () => {
    await lint(chart, { mode })
    expect(await renderText(chart, { mode, apis: [MONITORING] })).toBe(text)
  })

  test('every object is there once, with the labels that are usual', () => {
    const names = objects.map(nameOf)
    expect(names).toEqual([...new Set(names)])
    for (const { metadata } of objects) {
      expect(metadata.name.length).toBeLessThanOrEqual(63)
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/instance': 'release',
        'app.kubernetes.io/part-of': 'headrace',
      })
    }
  })

  test('nothing runs as root or may become it, and nothing has a token of the API server', () => {
    for (const { spec } of podsOf(objects)) {
      expect(spec).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true },
      })
      for (const container of containersOf(spec))
        expect(container.securityContext).toMatchObject({ allowPrivilegeEscalation: false })
    }
  })

  test('what is ours has a read-only root, no capabilities and an end to its memory', () => {
    // The worker of that mode says otherwise; Kafka's image writes its settings beside its programs.
    const others = podsOf(objects).filter(
      ({ name }) => !(mode === 'single' && chart === 'headrace-worker') && !name.endsWith('-demo-kafka'),
    )
    for (const container of others.flatMap(({ spec }) => containersOf(spec)))
      expect(container).toMatchObject({
        securityContext: { readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
        resources: { limits: { memory: expect.stringMatching(/^\d+[GM]i$/) } },
      })
  })

  test('no secret stands in an environment', () => {
    const literals = podsOf(objects)
      .flatMap(({ spec }) => containersOf(spec))
      .flatMap(({ env = [] }) => env.filter(({ value }) => value !== undefined))
    const secrets = literals.filter(({ name }) => /DATABASE_URL|PASSWORD|API_KEY|SECRET/.test(name))
    expect(secrets.filter(({ name }) => !name.endsWith('_FILE'))).toEqual([])
  })

  test('a rolling restart takes no pod before its successor is ready, and leaves it time to drain', () => {
    for (const { spec } of appsOf(objects)) {
      expect(spec.strategy.rollingUpdate).toMatchObject({ maxUnavailable: 0 })
      const [container] = spec.template.spec.containers
      const pause = container?.lifecycle?.preStop?.sleep?.seconds ?? 0
      const told = container?.env?.find(({ name }) => name === 'HEADRACE_DRAIN_TIMEOUT')?.value
      const drain = Number.parseInt(told ?? settingsOf(objects)['HEADRACE_DRAIN_TIMEOUT'] ?? '', 10)
      expect(pause).toBeGreaterThan(0)
      expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(pause + drain)
    }
  })

  test('a deployment is scaled by one thing alone', () => {
    const scaled = objects.flatMap((object) => {
      if (!['HorizontalPodAutoscaler', 'ScaledObject'].includes(object.kind)) return []
      return [(object['spec'] as { scaleTargetRef: { name: string } }).scaleTargetRef.name]
    })
    expect(scaled).toEqual([...new Set(scaled)])
    const unsaid = deploymentsOf(objects).filter(({ spec }) => spec.replicas === undefined)
    expect(unsaid.map(({ metadata }) => metadata.name).toSorted()).toEqual(scaled.toSorted())
  })

  test('what it says to an app is a setting', () => {
    const names = text.matchAll(/HEADRACE_[A-Z_]+[A-Z]/g)
    expect(
      [...names].map(([name]) => name).filter((name) => !KNOWN_SETTINGS.some((one) => one === name)),
    ).toEqual([])
  })
})

test.each(charts)('%s: a value that nobody knows is refused, at the top and below', async (chart) => {
  expect(await refusal(chart, 'minimal', 'replicasCount=3')).toMatch(/replicasCount/)
  expect(await refusal(chart, 'minimal', 'image.repo=x')).toMatch(/repo/)
  expect(await refusal(chart, 'minimal', 'logLevel=loud')).toMatch(/logLevel/)
})

test.each([
  ['headrace', 'kafka.brokers=null', /brokers/],
  ['headrace', 'kafka.brokers={kafka}', /brokers/],
  ['headrace', 'postgres.existingSecret=', /existingSecret/],
  ['headrace', 'demo.enabled=true', /brokers/],
  ['headrace', 'gateway.autoscaling.mode=both', /mode/],
  ['headrace', 'gateway.pdb.minAvailable=2', /minAvailable.*must be below/],
  ['headrace', 'orchestrator.replicas=1', /pdb\.enabled=false/],
  ['headrace', 'gateway.ingress.enabled=true', /hosts/],
  ['headrace', 'kafka.tls.caSecret=kafka-ca', /caSecret/],
  ['headrace', 'kafka.sasl.mechanism=digest', /mechanism/],
  ['headrace', 'kafka.sasl.mechanism=plain', /existingSecret/],
  ['headrace', 'kafka.sasl.existingSecret=kafka', /existingSecret/],
  ['headrace', 'kafka.sasl.mechanism=oauthbearer,kafka.sasl.existingSecret=kafka', /tokenUrl/],
  ['headrace', 'kafka.tls.enabled=true,triggerService.autoscaling.mode=keda', /authenticationRef/],
  ['headrace', 'tracing.endpoint=collector:4317', /endpoint/],
  ['headrace', 'schemaRegistry.url=registry:8081', /url/],
  ['headrace', 'schemaRegistry.url=https://ann:secret@registry:8081', /url/],
  ['headrace', 'schemaRegistry.existingSecret=registry', /existingSecret/],
  ['headrace', 'schemaRegistry.url=https://registry:8081,schemaRegistry.tokenKey=token', /tokenKey/],
  ['headrace', 'schemaRegistry.url=http://registry:8081,schemaRegistry.caSecret=ca', /caSecret/],
  ['headrace', 'eventTypes.register=anyone', /register/],
  ['headrace', 'postgres.schema=Shop', /schema/],
  ['headrace-worker', 'kafka.sasl.mechanism=plain', /existingSecret/],
  ['headrace-worker', 'url=', /url/],
  ['headrace-worker', 'image.tag=', /tag|digest/],
  ['headrace-worker', 'autoscaling.mode=keda', /brokers/],
  ['headrace-worker', 'replicas=1', /pdb\.enabled=false/],
] as const)('%s: %s is refused', async (chart, set, why) => {
  expect(await refusal(chart, 'minimal', set)).toMatch(why)
})

test('each app accepts what the chart tells it', async () => {
  const objects = await render('headrace', { mode: 'minimal' })
  const settings = settingsOf(objects)
  const environment = (component: string): Record<string, string> => {
    const deployment = deploymentsOf(objects).find(
      ({ metadata }) => metadata.name === `release-headrace-${component}`,
    )
    const own = deployment?.spec.template.spec.containers[0]?.env ?? []
    const url = 'postgres://from:secret@postgres:5432/headrace'
    return { ...settings, ...Object.fromEntries(own.map(({ name, value }) => [name, value ?? url])) }
  }
  expect(parseGatewayConfig(environment('gateway'))).toMatchObject({
    host: '0.0.0.0',
    orchestratorUrl: 'http://release-headrace-orchestrator:8082',
    streams: { autocreate: false, partitions: 12 },
  })
  expect(parseTriggerServiceConfig(environment('trigger-service'))).toMatchObject({ drainTimeoutMs: 25_000 })
  expect(parseOrchestratorConfig(environment('orchestrator'))).toMatchObject({
    migrate: false,
    advertisedUrl: 'http://release-headrace-orchestrator.shop.svc:8082',
    kafka: { taskPartitions: 12, responsePartitions: 12 },
  })
})

test('those who make traces are told where the collector is, and what it wants of them from a secret', async () => {
  const objects = await render('headrace', { mode: 'hpa' })
  const told = Object.fromEntries(
    deploymentsOf(objects).map(({ metadata, spec }) => {
      const env = spec.template.spec.containers[0]?.env ?? []
      return [metadata.name, env.filter(({ name }) => name.startsWith('OTEL_')).map(({ value }) => value)]
    }),
  )
  const both = ['http://collector.observability:4318', undefined]
  expect(told).toEqual({
    'release-headrace-gateway': both,
    'release-headrace-trigger-service': both,
    'release-headrace-orchestrator': [],
  })
})

/** What the only container of an app is told, from whichever place; `from-a-secret` where a secret says it. */
function toldTo({ spec }: Deployment, objects: KubernetesObject[]): Record<string, string> {
  const own = spec.template.spec.containers[0]?.env ?? []
  return {
    ...settingsOf(objects),
    ...Object.fromEntries(own.map(({ name, value }) => [name, value ?? 'from-a-secret'])),
  }
}

/** The files that a secret's items are, where an app finds them. */
function mountedFor({ spec }: Deployment): string[] {
  const { volumes = [], containers } = spec.template.spec
  return volumes.flatMap(({ name, secret }) => {
    const mount = containers[0]?.volumeMounts?.find((one) => one.name === name)
    return (secret?.items ?? []).map(({ path }) => `${mount?.mountPath}/${path}`)
  })
}

test.each(charts)(
  '%s: how a secured Kafka and a secured registry are spoken to is accepted, with secrets in files',
  async (chart) => {
    const objects = await render(chart, { mode: 'secured' })
    for (const app of appsOf(objects)) {
      const told = toldTo(app, objects)
      expect(securitySettings(told).problems).toEqual([])
      const registry = registrySettings(told)
      expect(registry.problems).toEqual([])
      expect(registry.access !== null).toBe(chart === 'headrace')
      const files = Object.entries(told).flatMap(([name, path]) => (name.endsWith('_FILE') ? [path] : []))
      expect(files.length).toBeGreaterThan(1)
      expect(mountedFor(app)).toEqual(expect.arrayContaining(files))
    }
  },
)

test('the password of Postgres is a file for those that connect, the schema is the same for all, a gateway has no password', async () => {
  const objects = await render('headrace', { mode: 'secured' })
  const file = '/etc/headrace/postgres-password/password'
  for (const app of appsOf(objects)) {
    const told = toldTo(app, objects)
    const connects = told['HEADRACE_DATABASE_URL'] !== undefined
    expect(told['HEADRACE_DATABASE_SCHEMA']).toBe('shop')
    expect([told['HEADRACE_DATABASE_PASSWORD_FILE'], mountedFor(app).includes(file)]).toEqual(
      connects ? [file, true] : [undefined, false],
    )
  }
  const [migration] = podsOf(objects).filter(({ name }) => name === 'release-headrace-migrate')
  expect(migration?.spec).toMatchObject({
    containers: [
      {
        env: expect.arrayContaining([
          { name: 'HEADRACE_DATABASE_PASSWORD_FILE', value: file },
          { name: 'HEADRACE_DATABASE_SCHEMA', value: 'shop' },
        ]),
        volumeMounts: expect.arrayContaining([expect.objectContaining({ name: 'postgres-password' })]),
      },
    ],
    volumes: expect.arrayContaining([expect.objectContaining({ name: 'postgres-password' })]),
  })
})

test('a registry that wants a token gets it from a file, and each app may reach it', async () => {
  const objects = await render('headrace', { mode: 'hpa' })
  for (const app of appsOf(objects)) {
    const told = toldTo(app, objects)
    expect(registrySettings(told)).toMatchObject({ access: expect.anything(), problems: [] })
    expect(mountedFor(app)).toContain(told['HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE'])
  }
  const policies = objects.filter(
    ({ kind, spec }) => kind === 'NetworkPolicy' && JSON.stringify(spec).includes('8081'),
  )
  expect(policies.map(({ metadata }) => metadata.name).toSorted()).toEqual([
    'release-headrace-gateway',
    'release-headrace-orchestrator',
    'release-headrace-trigger-service',
  ])
})

test('no service and no route has a management port', async () => {
  for (const { mode } of modes.filter(({ chart }) => chart === 'headrace')) {
    const services = (await render('headrace', { mode })).filter(({ kind }) =>
      ['Service', 'Ingress', 'HTTPRoute'].includes(kind),
    )
    expect(JSON.stringify(services)).not.toMatch(/management|908\d/)
  }
})

test('workers reach the gateway and the orchestrator, whoever else is let through', async () => {
  const objects = await render('headrace', { mode: 'keda' })
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy')
  const open = policies.filter(({ spec }) => JSON.stringify(spec).includes('"headrace.dev/worker":"true"'))
  expect(open.map(({ metadata }) => metadata.name).toSorted()).toEqual([
    'release-headrace-gateway',
    'release-headrace-orchestrator',
  ])
  const [worker] = deploymentsOf(await render('headrace-worker', { mode: 'minimal' }))
  expect(worker?.spec.template.metadata.labels).toMatchObject({ 'headrace.dev/worker': 'true' })
})

test('a schema is migrated once, in the way that was chosen', async () => {
  const migrations = async (mode: string) =>
    podsOf(await render('headrace', { mode }))
      .filter(({ spec }) => containersOf(spec).some(({ args = [] }) => args.includes('migrate')))
      .map(({ name }) => name)
  expect(await migrations('minimal')).toEqual(['release-headrace-migrate'])
  expect(await migrations('single')).toEqual(['release-headrace-orchestrator'])
  expect(await migrations('keda')).toEqual([])
  // Its Postgres is not there yet when a hook would run.
  expect(await migrations('demo')).toEqual(['release-headrace-orchestrator'])
})

test('changed settings restart the apps', async () => {
  const checksums = async (...set: string[]) =>
    deploymentsOf(await render('headrace', { mode: 'minimal', set })).map(
      ({ spec }) => spec.template.metadata.annotations?.['checksum/config'],
    )
  const before = await checksums()
  expect(new Set(before).size).toBe(1)
  expect((await checksums('logLevel=debug'))[0]).not.toBe(before[0])
})

test('monitoring is there only where the cluster knows it', async () => {
  const kinds = async (apis: string[]) =>
    (await render('headrace', { mode: 'minimal', apis })).map(({ kind }) => kind)
  expect(await kinds([])).not.toContain('PodMonitor')
  expect(await kinds([MONITORING])).toEqual(expect.arrayContaining(['PodMonitor', 'PrometheusRule']))
})

test('the charts are of the version that the packages are', () => {
  const { version } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as {
    version: string
  }
  for (const chart of charts) {
    const file = join(REPOSITORY, 'deploy/helm', chart, 'Chart.yaml')
    expect(parse(readFileSync(file, 'utf8'))).toMatchObject({ version, appVersion: version })
  }
})
