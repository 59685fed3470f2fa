import { openStore } from '@headrace/store'
import { expect, test } from 'vitest'
import { Cluster, SMALL } from './cluster.ts'
import { findNode } from './node.ts'

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
    'auth.enabled': false,
    'postgres.existingSecret': 'headrace-postgres',
    'streams.autoCreate': true,
    'streams.partitions': 4,
    taskPartitions: 4,
    responsePartitions: 4,
  },
} as const
const cluster = new Cluster(findNode())

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
  for (const app of APPS) expect(await cluster.pods('shop', `headrace-${app}`)).toHaveLength(2)
  const policies = await cluster.node.kubectl([
    '--namespace',
    'shop',
    'get',
    'networkpolicies',
    '--output',
    'name',
  ])
  say(`network policies accepted (and held by nobody here): ${policies.trim().split('\n').length}`)
})
