import { type ProblemCode, problems } from '@headrace/schemas'
import { z } from 'zod'
import { apiTags, type Operation, type OperationAnswer, type Operations } from './operation.ts'
import { problem } from './wire-schema.ts'

/** As much of OpenAPI 3.1 as is written here; its schemas are JSON Schema 2020-12. */
export interface OpenApiDocument {
  openapi: '3.1.1'
  info: Record<string, unknown>
  servers: { url: string }[]
  tags: { name: string; description: string }[]
  paths: Record<string, Record<string, OpenApiOperation>>
  components: { schemas: Record<string, JsonSchema>; securitySchemes: Record<string, unknown> }
}

interface OpenApiOperation {
  operationId: string
  responses: Record<string, unknown>
  [field: string]: unknown
}
type JsonSchema = Record<string, unknown>

/** What any route may answer, and what it may with a key, a query, a path, a body, Postgres behind it. */
const everywhere: readonly ProblemCode[] = ['internal', 'shutting_down', 'invalid_header', 'invalid_query']
const withKey: readonly ProblemCode[] = ['unauthorized', 'forbidden', 'keys_not_known']
const withBody: readonly ProblemCode[] = [
  'invalid_json',
  'invalid_encoding',
  'body_too_large',
  'unsupported_media_type',
  'invalid_request',
  'unknown_field',
  'invalid_field',
  'required',
  'contains_nul',
  'number_not_exact',
  'json_too_deep',
  'forbidden_key',
]
const withPostgres: readonly ProblemCode[] = ['postgres_unavailable', 'orchestrator_unavailable']

/** The OpenAPI document of these operations. */
export function openApiDocument(operations: Operations, version: string): OpenApiDocument {
  const schemas: Record<string, JsonSchema> = {}
  const paths: OpenApiDocument['paths'] = {}
  for (const [route, operation] of Object.entries(operations)) {
    const [method = '', path = ''] = route.split(' ')
    paths[path] = { ...paths[path], [method.toLowerCase()]: operationOf(path, operation, schemas) }
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Headrace',
      version,
      summary: 'Events in over HTTP, and the runs that follow them',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: Object.entries(apiTags).map(([name, description]) => ({ name, description })),
    paths,
    components: { schemas, securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
  }
}

function operationOf(
  path: string,
  operation: Operation,
  schemas: Record<string, JsonSchema>,
): OpenApiOperation {
  const { id, tag, summary, scope, body, answers } = operation
  const responses: Record<string, unknown> = {}
  for (const [status, told] of Object.entries(answers)) responses[status] = responseOf(told, schemas)
  for (const [status, codes] of problemCodesOf(path, operation)) {
    const own = answers[status]
    const content = { 'application/problem+json': { schema: problemSchema(codes, schemas) } }
    const description = own?.description ?? codes.map((code) => problems[code].title).join('. ')
    const known = own === undefined ? {} : (responseOf(own, schemas).content ?? {})
    responses[status] = { description, content: { ...known, ...content } }
  }
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(scope === 'public' ? { security: [] } : { security: [{ key: [] }], 'x-scope': scope }),
    parameters: parametersOf(path, operation, schemas),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: body.isOptional !== true,
            content: contentOf(body.formats, 'input', schemas),
          },
        }),
    responses,
  }
}

type Content = Record<string, { schema: JsonSchema }>

function responseOf(
  { description, schema, type = 'application/json', others }: OperationAnswer,
  schemas: Record<string, JsonSchema>,
): { description: string; content?: Content } {
  if (schema === undefined) return { description }
  return { description, content: contentOf({ [type]: schema, ...others }, 'output', schemas) }
}

const contentOf = (
  formats: Readonly<Record<string, z.ZodType>>,
  io: 'input' | 'output',
  schemas: Record<string, JsonSchema>,
): Content =>
  Object.fromEntries(
    Object.entries(formats).map(([type, schema]) => [type, { schema: schemaOf(schema, io, schemas) }]),
  )

function parametersOf(
  path: string,
  { query = {}, headers = {} }: Operation,
  schemas: Record<string, JsonSchema>,
): object[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  const given = (where: 'query' | 'header', named: Readonly<Record<string, z.ZodType>>): object[] =>
    Object.entries(named).map(([name, schema]) => {
      const { description, ...rest } = schemaOf(schema, 'input', schemas)
      const isRequired = !schema.safeParse(undefined).success
      return {
        name,
        in: where,
        required: isRequired,
        ...(description === undefined ? {} : { description }),
        schema: rest,
      }
    })
  return [...inPath, ...given('query', query), ...given('header', headers)]
}

/** The codes of the problems that a route may answer, by status. */
export function problemCodesOf(
  route: string,
  { apps, scope, query, body, problems: own = [] }: Operation,
): Map<number, ProblemCode[]> {
  const codes = new Set<ProblemCode>([
    ...own,
    ...everywhere,
    ...(scope === 'public' ? [] : withKey),
    ...(query !== undefined && 'cursor' in query ? (['invalid_cursor'] as const) : []),
    ...(route.includes('{') ? (['not_found'] as const) : []),
    ...(body === undefined ? [] : withBody),
    ...(apps.includes('gateway') ? [] : withPostgres),
  ])
  return Map.groupBy(codes, (code) => problems[code].status)
}

/** A problem with one of these codes. */
function problemSchema(codes: readonly ProblemCode[], schemas: Record<string, JsonSchema>): JsonSchema {
  const base = schemaOf(problem, 'output', schemas)
  return { allOf: [base, { type: 'object', properties: { code: { enum: [...codes].sort() } } }] }
}

const REF = '#/$defs/'

/** Named schemas become components; each is written once. */
function schemaOf(
  schema: z.ZodType,
  io: 'input' | 'output',
  schemas: Record<string, JsonSchema>,
): JsonSchema {
  // A schema's own name is only taken up where it stands inside another.
  const { $defs = {}, properties } = z.toJSONSchema(z.object({ it: schema }), {
    target: 'draft-2020-12',
    io,
    unrepresentable: 'any',
    override({ jsonSchema }) {
      // An answer may get further fields: nobody's generated client should refuse them.
      if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
      delete jsonSchema.id
    },
  }) as unknown as { $defs?: Record<string, JsonSchema>; properties: { it: JsonSchema } }
  for (const [name, each] of Object.entries($defs)) schemas[name] ??= relinked(each)
  return relinked(properties.it)
}

const relinked = (schema: JsonSchema): JsonSchema =>
  JSON.parse(JSON.stringify(schema).replaceAll(REF, '#/components/schemas/')) as JsonSchema
