import { configTopic, createBroker, createConfigReader } from '@headrace/broker'
import type {
  EventTypeBody,
  EventTypeWarning,
  Problem,
  RegisterReply,
  WireAudit,
  WireEventType,
  WireEventTypeDryRun,
  WireList,
  WireValidation,
  WireWorkflow,
} from '@headrace/schemas'
import { silentLogger } from '@headrace/service'
import { createDatabase, eventually, infra, startOwnSchemaRegistry } from '@headrace/testing'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { FakeWorker, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const registry = await startOwnSchemaRegistry()
const broker = createBroker({ brokers, clientId: 'test', logger: silentLogger })
const started: Started[] = []
let headrace: Started

async function orchestrator(env: Record<string, string> = {}): Promise<Started> {
  const withRegistry = { HEADRACE_SCHEMA_REGISTRY_URL: registry.url, ...env }
  const one = await startedOrchestrator({ brokers, prefix, databaseUrl, env: withRegistry })
  started.push(one)
  return one
}
beforeAll(async () => {
  headrace = await orchestrator()
})
afterEach(async () => {
  for (const one of started.splice(1)) await one.stop()
  await headrace.store.general.query('truncate event_types')
})
afterAll(async () => {
  for (const one of started) await one.stop()
  await broker.close()
})

const schemaOf = (required: string[], optional: string[] = []) => ({
  $schema: 'http://json-schema.org/draft-07/schema#',
  type: 'object',
  properties: Object.fromEntries([...required, ...optional].map((name) => [name, { type: 'number' }])),
  required,
  additionalProperties: false,
})
const typeOf = (pattern: string, schema: object, more: Partial<EventTypeBody> = {}): EventTypeBody => ({
  pattern,
  schema_type: 'json',
  schema: schema as Record<string, unknown>,
  ...more,
})
const put = async <Body = WireEventType>(name: string, body: EventTypeBody, on = headrace, query = '') =>
  await on.call<Body>(`/v1/event-types/${name}${query}`, { method: 'PUT', body })
const get = async <Body = WireEventType>(name: string, on = headrace) =>
  await on.call<Body>(`/v1/event-types/${name}`)
const remove = async (name: string) =>
  await headrace.call<Problem | null>(`/v1/event-types/${name}`, { method: 'DELETE' })
const subjectsThere = async (): Promise<string[]> =>
  (await (await fetch(`${registry.url}/subjects`)).json()) as string[]

/** What a gateway that starts now would know of event types. */
async function told(): Promise<Map<string, unknown>> {
  const reader = createConfigReader(broker, prefix)
  await reader.readOn().catch(() => false)
  return new Map([...reader.settings('event_type')].map(([name, { value }]) => [name, value]))
}

/** Answers a registration of one workflow with these event types. */
async function register(
  types: EventTypeBody[],
  { on = headrace, app = 'shop', build = 'b1' }: { on?: Started; app?: string; build?: string } = {},
) {
  const worker = new FakeWorker({ url: on.url, workflows: [workflowOf(`flow-${app}`)], app, build })
  return await worker.post<RegisterReply & Problem & { warnings?: EventTypeWarning[] }>('register', {
    ...worker.registration(),
    event_types: types,
  })
}

test('an event type is registered under its own subject, once however often it is put, and a wider schema is the next version', async () => {
  const made = await put('orders.created', typeOf('orders/created', schemaOf(['total'])))
  expect(made).toMatchObject({
    status: 201,
    body: {
      name: 'orders.created',
      pattern: 'orders/created',
      mode: 'enforce',
      content_model: 'closed',
      subject: `${prefix}.events.orders-orders.created`,
      version: 1,
      dataschema: `${registry.url}/subjects/${prefix}.events.orders-orders.created/versions/1`,
    },
  })
  const again = await put('orders.created', typeOf('orders/created', schemaOf(['total'])))
  expect(again).toMatchObject({ status: 200, body: made.body })
  const wider = await put('orders.created', typeOf('orders/created', schemaOf(['total'], ['note'])))
  expect(wider).toMatchObject({ status: 200, body: { version: 2, created_at: made.body.created_at } })
  await eventually('gateways are told', async () => {
    const value = (await told()).get('orders.created')
    return value !== undefined && (value as WireEventType).schema_id === wider.body.schema_id && value
  })
  expect((await told()).get('orders.created')).toMatchObject({
    pattern: 'orders/created',
    schema: schemaOf(['total'], ['note']),
    dataschema: wider.body.dataschema,
  })
})

test('a schema that breaks the one before is refused with the registry’s reason, and the event type goes on as it was', async () => {
  const { body: before } = await put('bills.sent', typeOf('bills/sent', schemaOf(['total'])))
  const breaking = typeOf('bills/sent', schemaOf(['total', 'paid']))
  expect(await put('bills.sent', breaking, headrace, '?dry_run=true')).toMatchObject({
    status: 422,
    body: { code: 'schema_incompatible' },
  })
  expect(await put<Problem>('bills.sent', breaking)).toMatchObject({
    status: 422,
    body: {
      code: 'schema_incompatible',
      retryable: false,
      errors: [{ pointer: '/schema', detail: expect.stringContaining('REQUIRED_PROPERTIES_MEMBER_ADDED') }],
    },
  })
  expect((await get('bills.sent')).body).toEqual(before)

  // What is open may become anything.
  const open = await put('bills.sent', typeOf('bills/sent', schemaOf(['total']), { content_model: 'open' }))
  expect(open).toMatchObject({ status: 200, body: { content_model: 'open' } })
  expect((await put('bills.sent', { ...breaking, content_model: 'open' })).status).toBe(200)
})

test('a dry run says what would be done, and does nothing', async () => {
  const dry = async (body: EventTypeBody) =>
    (await put<WireEventTypeDryRun>('dry.run', body, headrace, '?dry_run=true')).body.outcome
  const before = await subjectsThere()
  expect(await dry(typeOf('dry/run', schemaOf(['a'])))).toBe('new')
  expect((await get('dry.run')).status).toBe(404)
  expect(await subjectsThere()).toEqual(before)
  await put('dry.run', typeOf('dry/run', schemaOf(['a'])))
  expect(await dry(typeOf('dry/run', schemaOf(['a'])))).toBe('same')
  expect(await dry(typeOf('dry/run', schemaOf(['a']), { mode: 'warn' }))).toBe('changed')
})

test('two patterns do not share a name, but what a parameter is called does not count', async () => {
  await put('approvals._', typeOf('approvals/{id}', schemaOf(['ok'])))
  expect((await put('approvals._', typeOf('approvals/*', schemaOf(['ok'])))).status).toBe(200)
  expect(await put<Problem>('approvals._', typeOf('approvals/_', schemaOf(['ok'])))).toMatchObject({
    status: 409,
    body: {
      code: 'event_type_exists',
      errors: [{ pointer: '/pattern', detail: expect.stringContaining('approvals/{id}') }],
    },
  })
  const refused: [string, EventTypeBody, string][] = [
    ['approvals', typeOf('approvals/{id}', {}), '/pattern'],
    ['a.**', typeOf('a/**', {}), '/pattern'],
    ['a.b', typeOf('a/b', []), '/schema'],
    ['a.b', typeOf('a/b', { title: 'x'.repeat(262_144) }), '/schema'],
  ]
  for (const [name, body, pointer] of refused)
    expect(await put<Problem>(name, body)).toMatchObject({ status: 422, body: { errors: [{ pointer }] } })
})

test('a schema that nothing can be checked by is refused; data can be tried by one that is there', async () => {
  const none = typeOf('bad/one', { type: 'nothing' })
  expect(await put<Problem>('bad.one', none)).toMatchObject({
    status: 422,
    body: { code: 'schema_unusable', errors: [{ pointer: '/schema' }] },
  })
  await put('try.it', typeOf('try/it', schemaOf(['sum']), { mode: 'off' }))
  const tried = async (data: unknown) =>
    (
      await headrace.call<WireValidation>('/v1/event-types/try.it/validate', {
        method: 'POST',
        body: { data },
      })
    ).body
  expect(await tried({ sum: 1 })).toEqual({ valid: true, errors: [] })
  expect(await tried({ sum: 'x' })).toMatchObject({ valid: false, errors: [{ pointer: '/sum' }] })
})

test('lists go by name in pages; what is deleted is gone here and on the config topic, and the registry keeps it', async () => {
  for (const name of ['c', 'a', 'b']) await put(`list.${name}`, typeOf(`list/${name}`, schemaOf(['x'])))
  const first = await headrace.call<WireList<WireEventType>>('/v1/event-types?limit=2')
  expect(first.body.data.map(({ name }) => name)).toEqual(['list.a', 'list.b'])
  const next = await headrace.call<WireList<WireEventType>>(
    `/v1/event-types?limit=2&cursor=${String(first.body.next_cursor)}`,
  )
  expect(next.body.data.map(({ name }) => name)).toEqual(['list.c'])
  expect(next.body.next_cursor).toBeNull()
  await eventually('gateways are told', async () => (await told()).has('list.b'))

  expect((await remove('list.b')).status).toBe(204)
  expect(await remove('list.b')).toMatchObject({ status: 404, body: { code: 'event_type_not_found' } })
  await eventually('gateways hear of it', async () => !(await told()).has('list.b'))
  expect(await subjectsThere()).toContain(`${prefix}.events.list-list.b`)
  const { data } = (await headrace.call<WireList<WireAudit>>('/v1/audit?path=/v1/event-types/list.b')).body
  expect(data.map(({ action }) => action)).toEqual(['deleteEventType', 'putEventType'])
})

test('event types of a worker are registered with it, all or none, and a worker with a bad one is not', async () => {
  const good = typeOf('pay/in', schemaOf(['sum']))
  expect(await register([good, typeOf('pay/out', schemaOf(['sum']))])).toMatchObject({ status: 200 })
  expect((await get('pay.out')).body).toMatchObject({ version: 1 })

  const refused = await register(
    [typeOf('pay/new', schemaOf(['sum'])), typeOf('pay/in', schemaOf(['sum', 'tax']))],
    { app: 'other' },
  )
  expect(refused).toMatchObject({
    status: 422,
    body: { code: 'schema_incompatible', errors: [{ pointer: '/event_types/1/schema' }] },
  })
  expect((await get('pay.new')).status).toBe(404)
  expect(await subjectsThere()).not.toContain(`${prefix}.events.pay-pay.new`)
  const { data } = (await headrace.call<WireList<WireWorkflow>>('/v1/workflows')).body
  expect(data.map(({ id }) => id)).not.toContain('flow-other')
  expect(await register([good, good])).toMatchObject({
    status: 422,
    body: { code: 'registration_conflict', errors: [{ pointer: '/event_types/1/pattern' }] },
  })
})

test('a worker that comes back with an older schema changes nothing, and is told so', async () => {
  const [older, newer] = [typeOf('tax/paid', schemaOf(['a'])), typeOf('tax/paid', schemaOf(['a'], ['b']))]
  await register([older], { app: 'one' })
  await register([newer], { app: 'two' })
  const back = await register([older], { app: 'one' })
  expect(back).toMatchObject({
    status: 200,
    body: { warnings: [{ name: 'tax.paid', code: 'event_type_differs' }] },
  })
  expect((await get('tax.paid')).body).toMatchObject({ version: 2, schema: newer.schema })
  // Who asks for it by name means it.
  expect((await put('tax.paid', older)).body).toMatchObject({ version: 1, schema: older.schema })
})

test('while a newer build of its app lives, a worker changes no event type', async () => {
  const types = ['a', 'b', 'c'].map((note) =>
    typeOf('roll/on', schemaOf(['x'], [note]), { content_model: 'open' }),
  )
  const [first = [], second = [], third = []] = types.map((type) => [type])
  await register(first, { app: 'roll', build: 'b1' })
  await register(second, { app: 'roll', build: 'b2' })
  await headrace.store.general.query(
    `update workers set last_heartbeat_at = now() + interval '1 day' where app = 'roll' and build = 'b2'`,
  )
  const late = await register(third, { app: 'roll', build: 'b1' })
  expect(late.body.warnings).toMatchObject([
    { name: 'roll.on', code: 'event_type_differs', detail: expect.stringContaining('newer build') },
  ])
  expect((await get('roll.on')).body.schema).toEqual(second[0]?.schema)
})

test('where registering is not the workers’, or nobody’s, they are told of what differs', async () => {
  await put('ship.sent', typeOf('ship/sent', schemaOf(['a'])))
  await put('ship._.seen', typeOf('ship/{id}/seen', schemaOf(['a'])))
  const unusable = { type: 'object', properties: { a: { $ref: '#/none' } } }
  const types = [
    typeOf('ship/sent', schemaOf(['a'], ['b'])),
    typeOf('ship/lost', schemaOf(['a'])),
    typeOf('ship/_/seen', schemaOf(['a'])),
    typeOf('ship/odd', unusable),
  ]
  const codes = [
    'event_type_differs',
    'event_type_not_registered',
    'event_type_differs',
    'event_type_not_registered',
  ]
  expect((await register(types)).status).toBe(422)
  for (const mode of ['cli', 'never']) {
    const other = await orchestrator({ HEADRACE_SCHEMA_REGISTER: mode })
    const answer = await register(types, { on: other })
    expect(answer.body.warnings?.map(({ code }) => code)).toEqual(codes)
    expect((await get('ship.sent')).body).toMatchObject({ version: 1 })
    expect((await put('ship.sent', types[0]!, other)).status).toBe(mode === 'cli' ? 200 : 403)
    await put('ship.sent', typeOf('ship/sent', schemaOf(['a'])))
  }
})

test('two changes of one event type at once leave one of the two, as the registry has it', async () => {
  const other = await orchestrator()
  const notes = ['a', 'b', 'c', 'd']
  await put('race.run', typeOf('race/run', schemaOf(['x']), { content_model: 'open' }))
  const answers = await Promise.all(
    notes.map(
      async (note, index) =>
        await put(
          'race.run',
          typeOf('race/run', schemaOf(['x'], [note]), { content_model: 'open' }),
          index % 2 === 0 ? headrace : other,
        ),
    ),
  )
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
  const { body } = await get('race.run')
  const there = await fetch(body.dataschema ?? '')
  const stored = (await there.json()) as { id: number; schema: string }
  expect(stored.id).toBe(body.schema_id)
  expect(JSON.parse(stored.schema)).toEqual(body.schema)
})

test('a config topic that was made anew is told the event types again', async () => {
  await put('anew.a', typeOf('anew/a', schemaOf(['x'])))
  await eventually('gateways are told', async () => (await told()).has('anew.a'))
  await broker.topics.deleteTopic(configTopic(prefix).name)
  await eventually('it is told again', async () => (await told()).has('anew.a'))
})

test('while the registry is away nothing is changed, by a person or a worker, and what is there stays', async () => {
  await put('away.a', typeOf('away/a', schemaOf(['x'])))
  await registry.kill()
  const wanted = typeOf('away/b', schemaOf(['x']))
  expect(await put<Problem>('away.b', wanted)).toMatchObject({
    status: 503,
    body: { code: 'schema_registry_unavailable', retryable: true },
  })
  expect(await register([wanted])).toMatchObject({
    status: 503,
    body: { code: 'schema_registry_unavailable' },
  })
  expect((await get('away.b')).status).toBe(404)
  // What is registered needs no registry: not to be read, to be the same, or to be checked otherwise.
  expect((await get('away.a')).status).toBe(200)
  expect((await register([typeOf('away/a', schemaOf(['x']))])).status).toBe(200)
  expect((await put('away.a', typeOf('away/a', schemaOf(['x']), { mode: 'warn' }))).body.mode).toBe('warn')
})
