import { readFileSync } from 'node:fs'
import { openStore, type Store } from '@headrace/store'
import { eventually } from '@headrace/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Cluster, SMALL } from './cluster.ts'
import { type LoadFigures, type LoadOptions, underLoad, untilRunsStart } from './load.ts'
import { HEADRACE_VERSION } from './images.ts'
import { NODE_NAME } from './node-settings.ts'
import { findNode } from './node.ts'
import { startWitness, type Witness } from './witness.ts'

const APPS = ['gateway', 'trigger-service', 'orchestrator']

/** Under the name by which the broker tells of itself. */
const KAFKA = 'demo-headrace-demo-kafka'

const release = {
  name: 'headrace',
  chart: 'headrace',
  namespace: 'shop',
  set: {
    ...SMALL,
    'kafka.brokers[0]': `${KAFKA}:9092`,
    'kafka.prefix': 'shop',
    'auth.existingSecret': 'headrace-test-key',
    'postgres.existingSecret': 'headrace-postgres',
    'streams.autoCreate': true,
    'streams.partitions': 4,
    taskPartitions: 4,
    responsePartitions: 4,
  },
} as const
const WORKER = 'load-worker'
const worker = {
  name: 'load',
  chart: 'headrace-worker',
  namespace: 'shop',
  set: {
    'image.repository': 'headrace',
    'image.tag': HEADRACE_VERSION,
    app: 'load',
    url: 'http://headrace-gateway:8080',
    'apiKey.existingSecret': 'load-worker-key',
    'resources.requests.cpu': '20m',
    'command[0]': '/usr/bin/tini',
    'command[1]': '--',
    'command[2]': 'node',
    'command[3]': '/app/load/load-worker.js',
    'extraVolumes[0].name': 'script',
    'extraVolumes[0].configMap.name': 'load-worker',
    'extraVolumeMounts[0].name': 'script',
    'extraVolumeMounts[0].mountPath': '/app/load',
  },
} as const
const DEPLOYMENTS = [...APPS.map((app) => `headrace-${app}`), WORKER]

/** What tini started; tini itself heeds no signal from inside. */
const KILL = `
for (const pid of require('fs').readFileSync('/proc/1/task/1/children', 'utf8').trim().split(' '))
  process.kill(Number(pid), 'SIGKILL')
`

const cluster = new Cluster(findNode())
let witness: Witness
let load: LoadOptions
let store: Store | null = null

beforeAll(async () => {
  witness = await startWitness(cluster.node.address)
})
afterAll(async () => {
  await store?.close()
})

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

test('the chart with a Kafka and a Postgres to throw away is installed from nothing, and its test passes', async () => {
  await cluster.makeNamespace('demo')
  await cluster.install({
    name: 'demo',
    chart: 'headrace',
    namespace: 'demo',
    set: { ...SMALL, 'demo.enabled': true, 'streams.autoCreate': true },
  })
  const tested = await cluster.helm('demo', 'test', 'demo', '--logs')
  say(tested)
  expect(tested).toMatch(/Phase:\s+Succeeded/)
  // Its Kafka and its Postgres are the ones outside of the next release.
  const apps = APPS.map((app) => `deployment/demo-headrace-${app}`)
  await cluster.kubectl('demo', 'scale', '--replicas=0', ...apps)
  for (const app of APPS) await cluster.gone('demo', await cluster.pods('demo', `demo-headrace-${app}`))
})

/** A key of the release in `shop`, made as its notes say. */
async function makeKey(name: string, ...scopes: string[]): Promise<string> {
  const command = ['node', '/app/apps/cli/dist/main.js', 'keys', 'create', '--name', name]
  const asked = scopes.flatMap((scope) => ['--scope', scope])
  const made = await cluster.kubectl(
    'shop',
    'exec',
    'deploy/headrace-orchestrator',
    '--',
    ...command,
    ...asked,
  )
  return (JSON.parse(made) as { key: string }).key
}

/** A key is known at a gateway seconds after it was made, at each by itself. */
async function untilLetIn(key: string): Promise<void> {
  const path = 'jsonpath={.items[*].status.podIP}'
  const of = '--selector=app.kubernetes.io/instance=headrace,app.kubernetes.io/component=gateway'
  const addresses = await cluster.kubectl('shop', 'get', 'pods', of, `--output=${path}`)
  for (const address of addresses.split(' '))
    await eventually(`the gateway ${address} knows the key`, async () => {
      const response = await fetch(`http://${address}:8080/v1/runs`, {
        headers: { authorization: `Bearer ${key}` },
      })
      return response.ok
    })
}

async function makeSecret(name: string, stringData: Record<string, string>): Promise<void> {
  await cluster.apply('shop', { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData })
}

test('two of each are installed on a Kafka and a Postgres outside, with keys, the schema by a hook', async () => {
  const host = await cluster.address('demo', 'demo-headrace-demo-postgres')
  const urlOf = (database: string, at: string): string =>
    `postgres://headrace:headrace@${at}:5432/${database}`
  const demo = openStore({ url: urlOf('headrace', host), applicationName: 'test' })
  await demo.general.query('create database shop')
  await demo.close()
  store = openStore({ url: urlOf('shop', host), applicationName: 'test' })
  await cluster.makeNamespace('shop')
  await cluster.apply('shop', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: KAFKA },
    spec: { type: 'ExternalName', externalName: `${KAFKA}.demo.svc.cluster.local` },
  })
  await makeSecret('headrace-postgres', { url: urlOf('shop', 'demo-headrace-demo-postgres.demo') })
  await cluster.install(release)
  for (const app of APPS) expect(await cluster.pods('shop', `headrace-${app}`)).toHaveLength(2)
  const key = await makeKey('helm-test', 'events:write:headrace_test/**', 'runs:read', 'worker:headrace-test')
  await makeSecret('headrace-test-key', { key })
  await untilLetIn(key)
  const tested = await cluster.helm('shop', 'test', 'headrace', '--logs')
  say(tested)
  expect(tested).toMatch(/Phase:\s+Succeeded/)
  const policies = await cluster.kubectl('shop', 'get', 'networkpolicies', '--output', 'name')
  say(`network policies accepted (and held by nobody here): ${policies.trim().split('\n').length}`)
})

test('who has no key is let in nowhere, and workers with theirs take the runs', async () => {
  const gateway = `http://${await cluster.address('shop', 'headrace-gateway')}:8080`
  const refused = await fetch(`${gateway}/v1/runs`)
  expect(refused.status).toBe(401)
  await makeSecret('load-worker-key', { key: await makeKey('load-worker', 'worker:default') })
  await cluster.apply('shop', {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'load-worker' },
    data: { 'load-worker.js': readFileSync(new URL('load-worker.js', import.meta.url), 'utf8') },
  })
  await cluster.install(worker)
  expect(await cluster.pods('shop', WORKER)).toHaveLength(2)
  load = { gateway, apiKey: await makeKey('load', 'events:write:load/**'), witness }
  await untilRunsStart(load)
})

/** Under load: nothing accepted is lost or done twice, whatever happens; each run is completed. Says the figures. */
async function under(what: string, during: () => Promise<void>): Promise<LoadFigures> {
  const figures = await underLoad(load, during)
  const { seconds, accepted, failedRequests, lost, doubled, stepsRunAgain, stepsInFlight } = figures
  say(
    [
      `${what}: ${seconds} s, ${accepted} events accepted, ${failedRequests} requests failed, ${lost} lost, ${doubled} doubled`,
      `${stepsRunAgain} steps run again, up to ${stepsInFlight} in flight`,
      ...figures.reasons,
    ].join('; '),
  )
  expect(figures).toMatchObject({ lost: 0, doubled: 0 })
  expect(stepsRunAgain).toBeLessThanOrEqual(stepsInFlight)
  await eventually('every run is completed', async () => {
    const { rows } = await (store as Store).general.query(
      `select count(*)::int as open from runs where workflow = 'load' and status <> 'completed'`,
    )
    return (rows as { open: number }[])[0]?.open === 0
  })
  return figures
}

const NO_REQUEST_FAILED = { failedRequests: 0, reasons: [] }

test.each(DEPLOYMENTS)('a rolling restart of %s under load fails no request', async (deployment) => {
  const figures = await under(`rolling restart of ${deployment}`, async () => {
    await cluster.restart('shop', deployment)
  })
  expect(figures).toMatchObject(NO_REQUEST_FAILED)
})

test('nor does an upgrade that changes a setting of all apps', async () => {
  const before = await Promise.all(APPS.map(async (app) => await cluster.pods('shop', `headrace-${app}`)))
  const figures = await under('upgrade of the apps', async () => {
    await cluster.install({ ...release, set: { ...release.set, drainSeconds: 20 } })
    await cluster.gone('shop', before.flat())
  })
  expect(figures).toMatchObject(NO_REQUEST_FAILED)
})

test('nor does its rollback', async () => {
  const before = await Promise.all(APPS.map(async (app) => await cluster.pods('shop', `headrace-${app}`)))
  const figures = await under('rollback of the apps', async () => {
    await cluster.helm('shop', 'rollback', 'headrace', '--wait', '--timeout', '8m')
    await cluster.gone('shop', before.flat())
  })
  expect(figures).toMatchObject(NO_REQUEST_FAILED)
})

test('a drained node keeps one of each by their budgets, which fails no request', async () => {
  const figures = await under('drain of the node', async () => {
    // There is no other node to go to: it has to give up at the last of each.
    const of = '--pod-selector=app.kubernetes.io/instance in (headrace,load)'
    const drain = cluster.node.kubectl(['drain', NODE_NAME, of, '--delete-emptydir-data', '--timeout=60s'])
    await expect(drain).rejects.toThrow(/disruption budget/)
    for (const deployment of DEPLOYMENTS) {
      const ready = ['get', `deployment/${deployment}`, '--output=jsonpath={.status.readyReplicas}']
      expect(await cluster.kubectl('shop', ...ready)).toBe('1')
    }
    await cluster.node.kubectl(['uncordon', NODE_NAME])
    for (const deployment of DEPLOYMENTS) await cluster.settled('shop', deployment)
  })
  expect(figures).toMatchObject(NO_REQUEST_FAILED)
})

test.each(DEPLOYMENTS)('a pod of %s that is killed loses nothing', async (deployment) => {
  const [pod = ''] = await cluster.pods('shop', deployment)
  const figures = await under(`a pod of ${deployment} killed`, async () => {
    // With no grace at all: a pod that is deleted without any still has two seconds.
    await cluster.kubectl('shop', 'exec', pod, '--', 'node', '--eval', KILL).catch(() => null)
    await cluster.kubectl('shop', 'delete', 'pod', pod, '--grace-period=0', '--force')
    await cluster.gone('shop', [pod])
    await cluster.settled('shop', deployment)
  })
  expect(figures.lost + figures.doubled).toBe(0)
})
