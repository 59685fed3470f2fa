import { join } from 'node:path'
import {
  createDatabase,
  type SecuredKafka,
  startHeadrace,
  startSecuredKafka,
  testFolder,
} from '@headrace/testing'
import { beforeAll, expect, test } from 'vitest'
import { type AppProcess, startApp, startWorker } from '../harness/platform.ts'
import { endOf, parked, send } from '../harness/waits.ts'

/** What `headrace kafka plan` prints, and `headrace kafka apply` grants, is all that four principals need. */

const parts = ['gateway', 'trigger-service', 'orchestrator', 'worker'] as const
const prefix = 'secured'

let kafka: SecuredKafka
let url: string
let apps: AppProcess[]

const as = (part: (typeof parts)[number]): Record<string, string> => ({
  HEADRACE_KAFKA_TLS_CA_FILE: kafka.authority.ca,
  HEADRACE_KAFKA_SASL_MECHANISM: 'scram-sha-512',
  HEADRACE_KAFKA_SASL_USERNAME: `headrace-${part}`,
  HEADRACE_KAFKA_SASL_PASSWORD: `${part}-secret`,
})

beforeAll(async () => {
  const users = Object.fromEntries(parts.map((part) => [`headrace-${part}`, `${part}-secret`]))
  kafka = await startSecuredKafka({ users })
  const applying = await startHeadrace(['kafka', 'apply', '--acls'], {
    HEADRACE_PREFIX: prefix,
    HEADRACE_KAFKA_BROKERS: kafka.plain.join(','),
    HEADRACE_KAFKA_REPLICATION_FACTOR: '1',
  })
  const { code } = await applying.exit
  if (code !== 0) throw new Error(applying.stderr.join('\n'))
  const { url: databaseUrl } = await createDatabase()
  const options = { brokers: kafka.sasl, prefix, databaseUrl }
  const orchestrator = await startApp('orchestrator', options, as('orchestrator'))
  const [gateway, triggerService] = await Promise.all([
    startApp('gateway', options, { ...as('gateway'), HEADRACE_ORCHESTRATOR_URL: orchestrator.url }),
    startApp('trigger-service', options, as('trigger-service')),
  ])
  url = gateway.url
  apps = [orchestrator, gateway, triggerService]
  const folder = await testFolder('secured')
  await startWorker({
    gatewayUrl: url,
    databaseUrl,
    journal: join(folder, 'bodies.jsonl'),
    workflows: ['asks', 'publishes'],
    env: as('worker'),
  })
})

test('with the ACLs of the plan an event runs to its end, over a wait and a publish, and nothing is refused', async () => {
  const asked = await send(url, 'asks/secured', { on: 'answers/secured' })
  await parked(url, 'asks', asked)
  const answer = await send(url, 'answers/secured', { ok: true })
  const run = await endOf(url, 'asks', asked)
  expect(run).toMatchObject({ status: 'completed', output: { sequence_id: answer.sequenceId } })
  const published = await endOf(
    url,
    'publishes',
    await send(url, 'publishes/secured', { on: 'published/secured' }),
  )
  expect(published).toMatchObject({ status: 'completed' })
  for (const app of apps) expect(app.process.stdout.join('\n')).not.toMatch(/authorization_failed/)
})
