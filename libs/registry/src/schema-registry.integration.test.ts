import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type ProblemCode, ProblemError } from '@headrace/schemas'
import { createAuthority, startOwnSchemaRegistry, testFolder } from '@headrace/testing'
import { expect, test } from 'vitest'
import { openRegistry } from './registry-access.ts'
import { registrySettings } from './registry-settings.ts'
import { createSchemaRegistry, type SubjectSchema } from './schema-registry.ts'
import { createSchemaSource } from './schema-source.ts'

const server = await startOwnSchemaRegistry()
const registry = createSchemaRegistry(openRegistry(server.url))

const json = (properties: object, required: string[] = []): string =>
  JSON.stringify({
    $schema: 'http://json-schema.org/draft-07/schema#',
    type: 'object',
    properties,
    required,
    additionalProperties: false,
  })
const number = { type: 'number' }
const subject = (name: string, schema: string, more: Partial<SubjectSchema> = {}): SubjectSchema => ({
  subject: name,
  type: 'JSON',
  schema,
  level: 'BACKWARD',
  owned: true,
  ...more,
})

/** The problem that something ends with. */
async function problemOf(work: Promise<unknown>): Promise<{ code: ProblemCode; message: string } | null> {
  try {
    await work
    return null
  } catch (error) {
    if (error instanceof ProblemError) return error
    throw error
  }
}

test('a schema that is registered again is the same version, and one with a further optional field is the next', async () => {
  const first = await registry.register(subject('orders', json({ a: number }, ['a'])))
  expect(first).toEqual({
    id: expect.any(Number),
    version: 1,
    url: `${server.url}/subjects/orders/versions/1`,
  })
  expect(registry.isOwnUrl(first.url)).toBe(true)
  expect(await registry.register(subject('orders', json({ a: number }, ['a'])))).toEqual(first)
  const wider = subject('orders', json({ a: number, b: number }, ['a']))
  expect(await registry.check(wider)).toBeNull()
  expect(await registry.register(wider)).toMatchObject({ version: 2 })
  expect(await registry.check(subject('orders', json({ a: number }, ['a'])))).toEqual(first)
  const read = await createSchemaSource(openRegistry(server.url)).byId(first.id)
  expect(JSON.parse(read?.schema ?? '')).toEqual(JSON.parse(json({ a: number }, ['a'])))
})

test('what would not read the version before is refused with the registry’s reason, by a check and by registering', async () => {
  await registry.register(subject('users', json({ a: number }, ['a'])))
  const narrower = subject('users', json({ a: number, b: number }, ['a', 'b']))
  const checked = await problemOf(registry.check(narrower))
  expect(checked?.code).toBe('schema_incompatible')
  const refused = await problemOf(registry.register(narrower))
  expect(refused?.code).toBe('schema_incompatible')
  expect(refused?.message).toMatch(/REQUIRED|ncompatible/)
})

test('the level of a subject of ours follows, and goes back where the schema is refused', async () => {
  const open = subject('open', json({ a: number }), { level: 'NONE' })
  await registry.register(open)
  await registry.register({ ...open, schema: json({ b: number }, ['b']) })
  const closed = { ...open, level: 'BACKWARD', schema: json({ c: number }, ['c']) } as const
  expect(await problemOf(registry.register(closed))).toMatchObject({ code: 'schema_incompatible' })
  expect(await registry.register({ ...closed, level: 'NONE' })).toMatchObject({ version: 3 })
})

test('Avro, and what no schema is', async () => {
  const avro = (fields: object[]): string => JSON.stringify({ type: 'record', name: 'A', fields })
  const a = { name: 'a', type: 'long' }
  const wanted = subject('avro', avro([a]), { type: 'AVRO' })
  await registry.register(wanted)
  const optional = { name: 'b', type: ['null', 'string'], default: null }
  expect(await registry.register({ ...wanted, schema: avro([a, optional]) })).toMatchObject({ version: 2 })
  const required = { ...wanted, schema: avro([a, optional, { name: 'c', type: 'string' }]) }
  expect(await problemOf(registry.register(required))).toMatchObject({ code: 'schema_incompatible' })
  const none = subject('none', '{"type":"record"}', { type: 'AVRO' })
  expect(await problemOf(registry.register(none))).toMatchObject({ code: 'schema_unusable' })
})

test('a registry that is away, or that does not let us in, is unavailable and no refusal', async () => {
  const nobody = createSchemaRegistry(openRegistry('http://127.0.0.1:9'))
  expect(await problemOf(nobody.register(subject('x', json({}))))).toMatchObject({
    code: 'schema_registry_unavailable',
  })
})

test('certificates and a token are read again for each request', async () => {
  const folder = await testFolder('registry-tls')
  const authority = await createAuthority(folder)
  const [own, ours] = [
    await authority.sign('registry', 'IP:127.0.0.1'),
    await authority.sign('headrace', 'DNS:headrace'),
  ]
  const seen: unknown[] = []
  const guarded = createServer(
    {
      ...Object.fromEntries(Object.entries(own).map(([name, file]) => [name, readFileSync(file)])),
      ca: readFileSync(authority.ca),
      requestCert: true,
      rejectUnauthorized: true,
    },
    (request, response) => {
      seen.push(request.headers.authorization)
      response.end(JSON.stringify({ schema: '{}', schemaType: 'JSON' }))
    },
  )
  await new Promise<void>((resolve) => guarded.listen(0, '127.0.0.1', resolve))
  const token = join(folder, 'token')
  const env = {
    HEADRACE_SCHEMA_REGISTRY_URL: `https://127.0.0.1:${(guarded.address() as AddressInfo).port}`,
    HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE: token,
    HEADRACE_SCHEMA_REGISTRY_TLS_CA_FILE: authority.ca,
  }
  const mutual = {
    HEADRACE_SCHEMA_REGISTRY_TLS_CERT_FILE: ours.cert,
    HEADRACE_SCHEMA_REGISTRY_TLS_KEY_FILE: ours.key,
  }
  const ask = async (given: Record<string, string>) => {
    const { access } = registrySettings(given)
    if (access === null) throw new Error('there is a URL')
    return await problemOf(createSchemaSource(access).byId(1))
  }
  try {
    expect((await ask({ ...env, ...mutual }))?.message).toContain('HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE')
    await writeFile(token, 'first\n')
    expect(await ask({ ...env, ...mutual })).toBeNull()
    await writeFile(token, 'second\n')
    expect(await ask({ ...env, ...mutual })).toBeNull()
    expect(await ask(env)).toMatchObject({ code: 'schema_registry_unavailable' })
    expect(seen).toEqual(['Bearer first', 'Bearer second'])
  } finally {
    guarded.close()
  }
})
