import { readFileSync } from 'node:fs'
import { openStore } from '@headrace/store'
import { beforeAll, expect, test } from 'vitest'
import { Cluster, SMALL } from './cluster.ts'
import { HEADRACE_TAGS } from './images.ts'
import { type LoadFigures, startWitness, underLoad, type Witness } from './load.ts'
import { findNode } from './node.ts'

const APPS = ['gateway', 'trigger-service', 'orchestrator']
/** Bodies that one worker has in hand, at most: what may run again when it is killed. */
const CONCURRENCY = 20
const EVENTS_PER_SECOND = 20

/** Under the name by which the broker tells of itself. */
const KAFKA = 'demo-headrace-demo-kafka'

const release = {
  name: 'headrace',
  chart: 'headrace',
  namespace: 'shop',
  set: {
    ...SMALL,
    'kafka.brokers[0]': `${KAFKA}:9092`,
    'auth.enabled': false,
    'postgres.existingSecret': 'headrace-postgres',
    'streams.autoCreate': true,
    'streams.partitions': 4,
    taskPartitions: 4,
    responsePartitions: 4,
  },
} as const
const worker = {
  name: 'load',
  chart: 'headrace-worker',
  namespace: 'shop',
  set: {
    'image.repository': 'headrace',
    'image.tag': HEADRACE_TAGS[0],
    app: 'load',
    build: 'one',
    url: 'http://headrace-gateway:8080',
    'resources.requests.cpu': '20m',
    'command[0]': '/usr/bin/tini',
    'command[1]': '--',
    'command[2]': 'node',
    'command[3]': '/app/load/worker.js',
    'env[0].name': 'CONCURRENCY',
    'env[0].value': `'${CONCURRENCY}'`,
    'extraVolumes[0].name': 'script',
    'extraVolumes[0].configMap.name': 'load',
    'extraVolumeMounts[0].name': 'script',
    'extraVolumeMounts[0].mountPath': '/app/load',
  },
} as const
const WORKER = 'load-headrace-worker'

const cluster = new Cluster(findNode())
let witness: Witness
let gateway: string

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

async function under(what: string, during: () => Promise<void>): Promise<LoadFigures> {
  const figures = await underLoad({ gateway, witness, eventsPerSecond: EVENTS_PER_SECOND }, during)
  const { accepted, failedRequests, lost, stepsRunAgain, seconds } = figures
  say(
    `${what}: ${seconds} s, ${accepted} events accepted, ${failedRequests} requests failed, ${lost} lost, ${stepsRunAgain} steps run again`,
  )
  return figures
}

const FLAWLESS = { failedRequests: 0, reasons: [], lost: 0, stepsRunAgain: 0 }

beforeAll(async () => {
  witness = await startWitness(cluster.node.address)
})

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
  await cluster.node.kubectl(['--namespace', 'demo', 'scale', '--replicas=0', ...apps])
  for (const app of APPS) await cluster.gone('demo', await cluster.pods('demo', `demo-headrace-${app}`))
})

test('two of each are installed on a Kafka and a Postgres outside, the schema by a hook', async () => {
  const host = await cluster.address('demo', 'demo-headrace-demo-postgres')
  const store = openStore({
    url: `postgres://headrace:headrace@${host}:5432/headrace`,
    applicationName: 'test',
  })
  await store.general.query('create database shop')
  await store.close()
  await cluster.makeNamespace('shop')
  await cluster.apply('shop', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: KAFKA },
    spec: { type: 'ExternalName', externalName: `${KAFKA}.demo.svc.cluster.local` },
  })
  await cluster.apply('shop', {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'headrace-postgres' },
    stringData: { url: `postgres://headrace:headrace@demo-headrace-demo-postgres.demo:5432/shop` },
  })
  await cluster.install(release)
  expect(await cluster.helm('shop', 'test', 'headrace', '--logs')).toMatch(/Phase:\s+Succeeded/)
  await cluster.apply('shop', {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'load' },
    data: { 'worker.js': readFileSync(new URL('worker.js', import.meta.url), 'utf8') },
  })
  await cluster.install(worker)
  for (const app of APPS) expect(await cluster.pods('shop', `headrace-${app}`)).toHaveLength(2)
  expect(await cluster.pods('shop', WORKER)).toHaveLength(2)
  const policies = await cluster.node.kubectl([
    '--namespace',
    'shop',
    'get',
    'networkpolicies',
    '--output',
    'name',
  ])
  say(`network policies accepted (and held by nobody here): ${policies.trim().split('\n').length}`)
  gateway = `http://${await cluster.address('shop', 'headrace-gateway')}:8080`
})

test('an upgrade of all pods under load fails no request, loses nothing and runs no step again', async () => {
  const before = await Promise.all(APPS.map(async (app) => await cluster.pods('shop', `headrace-${app}`)))
  const figures = await under('upgrade of the apps', async () => {
    await cluster.install({ ...release, set: { ...release.set, 'image.tag': HEADRACE_TAGS[1] } })
    await cluster.gone('shop', before.flat())
  })
  expect(figures).toMatchObject(FLAWLESS)
})

test('so does a rollback', async () => {
  const figures = await under('rollback of the apps', async () => {
    await cluster.helm('shop', 'rollback', 'headrace', '--wait', '--timeout', '8m')
  })
  expect(figures).toMatchObject(FLAWLESS)
})

test.each([...APPS.map((app) => `headrace-${app}`), WORKER])(
  'so does a rolling restart of %s',
  async (deployment) => {
    const figures = await under(`rolling restart of ${deployment}`, async () => {
      await cluster.restart('shop', deployment)
    })
    expect(figures).toMatchObject(FLAWLESS)
  },
)

test('a drained node keeps one of each, and loses nothing', async () => {
  const selector = '--pod-selector=app.kubernetes.io/instance in (headrace,load)'
  const figures = await under('drain of the node', async () => {
    // There is no other node to go to: it has to give up at the last of each.
    const drain = cluster.node.kubectl([
      'drain',
      'headrace',
      '--timeout=60s',
      selector,
      '--delete-emptydir-data',
    ])
    await expect(drain).rejects.toThrow(/disruption budget/)
    for (const app of APPS) {
      const ready = `deployment/headrace-${app}`
      const path = 'jsonpath={.status.readyReplicas}'
      expect(await cluster.node.kubectl(['--namespace', 'shop', 'get', ready, '--output', path])).toBe('1')
    }
    await cluster.node.kubectl(['uncordon', 'headrace'])
    for (const app of APPS) await cluster.settled('shop', `headrace-${app}`)
    await cluster.settled('shop', WORKER)
  })
  expect(figures).toMatchObject(FLAWLESS)
})

test.each([...APPS.map((app) => `headrace-${app}`), WORKER])(
  'a pod of %s that is killed takes nothing with it but what it had in hand',
  async (deployment) => {
    const [pod = ''] = await cluster.pods('shop', deployment)
    const figures = await under(`a pod of ${deployment} killed`, async () => {
      await cluster.node.kubectl(['--namespace', 'shop', 'delete', 'pod', pod, '--grace-period=0', '--force'])
      await cluster.gone('shop', [pod])
      await cluster.settled('shop', deployment)
    })
    expect(figures.lost).toBe(0)
    expect(figures.stepsRunAgain).toBeLessThanOrEqual(deployment === WORKER ? CONCURRENCY : 0)
  },
)
