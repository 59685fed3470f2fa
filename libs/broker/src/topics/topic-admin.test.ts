import { expect, test } from 'vitest'
import type { Cluster } from '../wire/cluster.ts'
import { createTopicAdmin } from './topic-admin.ts'
import { responsesTopic } from './topic-plan.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const wanted = { ...responsesTopic('shop'), partitions: 4 }

/** What Kafka would tell of its topics: nothing but these settings of the one that is wanted, or no topic at all. */
function clusterOf(settings: Readonly<Record<string, string>> | null): Cluster {
  const leaders = Array.from({ length: wanted.partitions }, () => ({ nodeId: 1 }))
  const topics = new Map(settings === null ? [] : [[wanted.name, { status: 'known', leaders, replicas: 3 }]])
  const configEntries = Object.entries(settings ?? {}).map(([configName, configValue]) => ({
    configName,
    configValue,
    configSource: 1,
  }))
  const answer = { resources: [{ errorCode: 0, resourceName: wanted.name, configEntries }] }
  const link = { request: () => Promise.resolve(answer) }
  return {
    metadata: () => Promise.resolve({ topics }),
    anyLink: () => Promise.resolve(link),
  } as unknown as Cluster
}

const verify = (cluster: Cluster) => createTopicAdmin(cluster, { mode: 'verify' }, silent)

test('who may make no topics tells which are missing, and which commands make them, or print how they are made', async () => {
  await expect(verify(clusterOf(null)).ensureTopics([wanted])).rejects.toMatchObject({
    code: 'topics_missing',
    message: expect.stringMatching(
      /HEADRACE_KAFKA_TOPICS=verify .*: shop\.responses; headrace kafka apply .* headrace kafka plan /,
    ),
  })
})

test('a setting that differs is told with the command that changes it, a list in brackets', async () => {
  const now = { ...wanted.config, 'cleanup.policy': 'delete', 'retention.ms': '1000' }
  const { warnings } = await verify(clusterOf(now)).ensureTopics([wanted])
  expect(warnings.map(({ code }) => code)).toEqual(['topic_config_differs', 'topic_config_differs'])
  expect(warnings.map(({ message }) => message)).toEqual([
    expect.stringMatching(
      /^topic shop\.responses has cleanup\.policy=delete, .*--entity-name shop\.responses --add-config 'cleanup\.policy=\[compact,delete\]'$/,
    ),
    expect.stringMatching(
      /^topic shop\.responses has retention\.ms=1000, .*--add-config retention\.ms=2592000000$/,
    ),
  ])
})

test('a topic as it is wanted, its lists in any order, says nothing', async () => {
  const now = { ...wanted.config, 'cleanup.policy': 'delete,compact' }
  const { warnings } = await verify(clusterOf(now)).ensureTopics([wanted])
  expect(warnings).toEqual([])
})
