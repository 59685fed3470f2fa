import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { modesOf, objectsOf, renderText } from '../deploy/helm.ts'
import { beforeAll, describe, expect, test } from 'vitest'
import { findNode, say } from './node.ts'
import { findKubeconform } from './programs.ts'
import { writeSchemas } from './schemas.ts'

/** Kinds that others bring to a cluster: a node of nothing but Kubernetes cannot judge them. */
const OF_OTHERS = /^(keda\.sh|monitoring\.coreos\.com|gateway\.networking\.k8s\.io)\//

const charts = ['headrace', 'headrace-worker']
const modes = (
  await Promise.all(charts.map(async (chart) => (await modesOf(chart)).map((mode) => ({ chart, mode }))))
).flat()

const node = findNode()
let schemas: string

beforeAll(async () => {
  schemas = await writeSchemas(
    await node.kubectl(['get', '--raw', '/openapi/v2']),
    join(node.folder, 'schemas'),
  )
  await node.kubectl(['create', 'namespace', 'objects'])
  // A dry run makes none, and a pod of its own is refused without the one that it names.
  for (const account of ['release-headrace', 'headrace'])
    await node.kubectl(['--namespace', 'objects', 'create', 'serviceaccount', account])
})

describe.each(modes)('$chart, $mode', ({ chart, mode }) => {
  test('every object is one that this API server knows and accepts', async () => {
    const objects = objectsOf(await renderText(chart, { mode }))
    const judged = objects.filter(({ apiVersion }) => !OF_OTHERS.test(apiVersion))
    const file = join(node.folder, `${chart}-${mode}.json`)
    await writeFile(file, judged.map((object) => JSON.stringify(object)).join('\n---\n'))
    const summary = await say(await findKubeconform(), [
      '-strict',
      '-summary',
      '-schema-location',
      schemas,
      file,
    ])
    expect(summary).toContain(`Valid: ${judged.length}, Invalid: 0, Errors: 0, Skipped: 0`)
    const accepted = await node.kubectl([
      '--namespace',
      'objects',
      'apply',
      '--dry-run=server',
      '--filename',
      file,
    ])
    expect(accepted.trim().split('\n')).toHaveLength(judged.length)
    process.stdout.write(
      `${chart}, ${mode}: ${judged.length} objects valid and accepted, ${objects.length - judged.length} of others' kinds not looked at\n`,
    )
  })
})

test('what no API server knows is not passed over', async () => {
  const file = join(node.folder, 'wrong.json')
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'wrong' },
    spec: { containers: [], cpus: 1 },
  }
  await writeFile(file, JSON.stringify(pod))
  const judging = say(await findKubeconform(), ['-strict', '-schema-location', schemas, file])
  await expect(judging).rejects.toMatchObject({ stdout: expect.stringContaining('cpus') })
})
