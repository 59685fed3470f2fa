import { join } from 'node:path'
import { openStore } from '@headrace/store'
import { createDatabase, eventually, infra, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import { openGate } from '../harness/gate.ts'
import { readJournal } from '../harness/journal.ts'
import { allEnded, publish, restartApp, startPlatform, startWorker } from '../harness/platform.ts'

test('an orchestrator that is away for longer than a worker’s lease costs no run a loss, and none waits for a verdict', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const options = { brokers, prefix, databaseUrl }
  const platform = await startPlatform(options)
  const { url } = platform.gateway
  const folder = await testFolder('journal')
  const journal = join(folder, 'bodies.jsonl')
  const gate = join(folder, 'gate')
  const worker = await startWorker({
    gatewayUrl: url,
    databaseUrl,
    journal,
    workflows: ['gated'],
    env: { HEADRACE_TEST_GATE: gate },
  })
  const events = Array.from({ length: 20 }, (_, n) => ({ topic: `gated/${n}`, data: { n } }))
  expect((await publish(url, { events })).status).toBe(200)
  await eventually(
    'all are held in their second step',
    () => readJournal(journal).filter((entry) => entry.step === 'held').length === 20,
  )

  const [orchestrator] = platform.orchestrators
  await orchestrator!.process.kill('SIGKILL')
  await worker.waitForLine('worker.lost')
  const startedAtMs = Date.now()
  await restartApp('orchestrator', orchestrator!, options)
  openGate(gate)
  const runs = await allEnded(url, 'gated', 20)
  process.stdout.write(
    `20 runs ended ${Date.now() - startedAtMs} ms after the orchestrator was started again\n`,
  )

  expect(runs.map((run) => run.status)).toEqual(runs.map(() => 'completed'))
  expect(runs).toHaveLength(20)
  expect(readJournal(journal).filter((entry) => entry.what === 'rerun')).toEqual([])
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const { rows } = await store.general.query<{ lost: number; epoch: number }>(
    'select max(lost) as lost, min(epoch) as epoch from runs',
  )
  await store.close()
  expect(rows).toEqual([{ lost: 0, epoch: 2 }])
})
