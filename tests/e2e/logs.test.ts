import { createBroker } from '@headrace/broker'
import { issueKey } from '@headrace/orchestrator'
import { createKeySchema, type WireDeadLetter, type WireList, type WireRun } from '@headrace/schemas'
import { NonRetryableError, Worker, workflow } from '@headrace/sdk'
import { createLogger, silentLogger } from '@headrace/service'
import { openStore } from '@headrace/store'
import { createDatabase, eventually, infra, sendForeign } from '@headrace/testing'
import { expect, onTestFinished, test } from 'vitest'
import { startApp, startPlatform } from '../harness/platform.ts'

/** Stands in all that people send; no log may hold it. First in each text: parsers quote how a text begins. */
const MARK = 'zq7x'
/** What a program says of its own failure: in its worker's log, and in no other. */
const OWN_WORDS = 'k9vw'

const echo = workflow({ id: 'echo', triggerOnEvent: 'orders/**' }, async (ctx, input) => {
  return await ctx.step.run('echo', () => ({ said: MARK, input }))
})
const breaks = workflow({ id: 'breaks', triggerOnEvent: 'paid/**' }, async (ctx, { events }) => {
  await ctx.step.run('ask', () => {
    throw new NonRetryableError(`${OWN_WORDS} of ${events.length}`)
  })
})

test('no log holds a payload or a secret, at level debug, and each line is JSON with its event, level, time and app', async () => {
  const { brokers, prefix } = await infra()
  const { url: databaseUrl } = await createDatabase()
  const debug = { HEADRACE_AUTH: 'on', HEADRACE_LOG_LEVEL: 'debug' }
  const options = { brokers, prefix, databaseUrl, env: debug }
  const platform = await startPlatform(options)
  const { url } = platform.gateway
  const store = openStore({ url: databaseUrl, applicationName: 'test' })
  const theirs = `shop-${prefix}.paid`
  const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
  const wanted = createKeySchema.parse({ name: 'all', scopes: ['admin'] })
  const { key } = await issueKey(store, wanted, Date.now())
  const said: string[] = []
  const stream = { write: (line: string) => void said.push(line) }
  const worker = new Worker({
    workflows: [echo, breaks],
    url,
    app: 'logs',
    build: '1',
    apiKey: key,
    log: createLogger({ name: 'worker', level: 'debug', stream }),
  })
  let working: Promise<void> | null = null
  onTestFinished(async () => {
    await worker.stop()
    await working
    await broker.close()
    await store.close()
  })

  async function call(method: string, path: string, body?: unknown, more: Record<string, string> = {}) {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...more },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const told: unknown = await answer.json()
    return { status: answer.status, body: told }
  }
  const statuses = async (id: string) =>
    ((await call('GET', `/v1/runs?workflow=${id}`)).body as WireList<WireRun>).data.map(
      ({ status }) => status,
    )
  const post = async (path: string, body: unknown, more?: Record<string, string>) =>
    (await call('POST', path, body, more)).status

  await broker.topics.ensureTopics([{ name: theirs, config: {}, partitions: 1 }])
  await eventually('the key is known', async () => (await call('GET', '/v1/streams')).status === 200)
  const named = { header: 'event', prefix: 'paid/' }
  const bound = { external: true, kafka_topic: theirs, topic: named, value_format: 'json', start: 'earliest' }
  expect((await call('PUT', '/v1/streams/paid', { ...bound, id: { pointer: '/no' } })).status).toBe(201)
  working = worker.run()
  await eventually('the workflows are there', async () => {
    return (await call('GET', '/v1/workflows/breaks')).status === 200
  })

  const event = { topic: 'orders/1', data: { said: MARK } }
  expect(await post('/v1/events', event, { 'x-said': MARK, cookie: `said=${MARK}` })).toBe(200)
  // Taken, and found not to be of its workflow's shape.
  expect(await post('/v1/runs', { workflow: 'echo', input: { said: MARK } })).toBeLessThan(300)
  // Refused: by its shape, by its text, by its key.
  expect(await post('/v1/events', { ...event, [MARK]: MARK })).toBe(422)
  expect(await post('/v1/events', { topic: `${MARK}//x`, data: MARK })).toBe(422)
  expect(await post('/v1/events', `${MARK} is no JSON`)).toBe(400)
  expect(await post('/v1/runs', { workflow: 'echo', tags: { [MARK]: '\u0000' } })).toBe(422)
  expect(await post('/v1/events', event, { authorization: `Bearer ${key.slice(0, -4)}${MARK}` })).toBe(401)
  // A record that fails its run, and one that nobody can read.
  const headers = { event: 'now', said: MARK }
  await sendForeign(brokers, theirs, [
    { key: MARK, value: JSON.stringify({ no: 1, said: MARK }), headers },
    { key: MARK, value: `${MARK} is no JSON`, headers },
  ])
  await eventually('all have ended', async () => {
    const ended = [...(await statuses('echo')), ...(await statuses('breaks'))]
    return ended.toSorted().join() === 'completed,failed,failed'
  })
  await eventually('the record and the input are set aside', async () => {
    const { body } = await call('GET', '/v1/dead-letters')
    const reasons = new Set((body as WireList<WireDeadLetter>).data.map(({ reason }) => reason))
    return reasons.has('undecodable') && reasons.has('schema_invalid')
  })
  // Postgres lets nobody in by this password.
  const wrong = new URL(databaseUrl)
  wrong.password = `${MARK}-password`
  const shutOut = await startApp(
    'orchestrator',
    { ...options, databaseUrl: wrong.href },
    {},
    { ready: false },
  )
  await eventually('it says that Postgres is closed to it', () =>
    shutOut.process.stdout.some((line) => /password authentication/.test(line)),
  )

  const apps = [platform.gateway, ...platform.orchestrators, ...platform.triggerServices, shutOut]
  // The password as URLs have it: by itself it may be a common word.
  const secrets = [MARK, key.slice(key.lastIndexOf('_') + 1), `:${new URL(databaseUrl).password}@`]
  const holding = (lines: readonly string[], wanted: readonly string[]) =>
    lines.filter((line) => wanted.some((text) => line.includes(text)))
  const lines = apps.flatMap(({ process }) => process.stdout)
  expect(new Set(lines.map((line) => (JSON.parse(line) as { app: string }).app))).toEqual(
    new Set(['gateway', 'orchestrator', 'trigger-service']),
  )
  for (const line of lines)
    expect(JSON.parse(line)).toMatchObject({
      event: expect.any(String),
      level: expect.stringMatching(/^(trace|debug|info|warn|error|fatal)$/),
      time: expect.stringMatching(/Z$/),
    })
  expect(apps.flatMap(({ process }) => process.stderr)).toEqual([])
  expect(holding(said, [OWN_WORDS])).not.toEqual([])
  expect(holding(said, secrets)).toEqual([])
  expect(holding(lines, [...secrets, OWN_WORDS])).toEqual([])
})
