import { ProblemError } from '@headrace/schemas'
import { z } from 'zod'
import type { WholeSchema } from './decode/schema-reader.ts'

/** A registry that has not answered by then is taken for one that is away. */
const ASK_MS_MAX = 5_000
/** Schemas that one schema refers to, directly or not. */
const REFERENCES_MAX = 200
/** The registry's own codes of what it definitely does not have; any other 404 comes from something else at its address. */
const NOT_THERE: readonly unknown[] = [40401, 40402, 40403]

/** Where schemas are looked up by their ids. */
export interface SchemaSource {
  /**
   * Null: the registry has none of this id. Throws `schema_registry_unavailable` when it cannot be asked, does not let us in,
   * or answers as no registry does.
   */
  byId(id: number): Promise<WholeSchema | null>
}

const schemaAnswer = z.object({
  schema: z.string(),
  /** Avro's is left out. */
  schemaType: z
    .enum(['AVRO', 'JSON', 'PROTOBUF'])
    .nullish()
    .transform((type) => type ?? 'AVRO'),
  references: z
    .array(z.object({ name: z.string(), subject: z.string(), version: z.int() }))
    .nullish()
    .transform((references) => references ?? []),
})
type SchemaAnswer = z.output<typeof schemaAnswer>
type Ask = (path: string) => Promise<SchemaAnswer | null>

/** A registry with Confluent's API at `url`; a user and password in it are sent as basic authentication. */
export function createSchemaSource(url: string): SchemaSource {
  const ask = askerOf(url)
  return {
    async byId(id) {
      const found = await ask(`/schemas/ids/${id}`)
      if (found === null) return null
      return {
        id,
        type: found.schemaType,
        schema: found.schema,
        references: await referredBy(found, ask, new Set()),
      }
    },
  }
}

/** Those that are referred to first. One that is missing is said when the schema is compiled. */
async function referredBy(
  { references }: SchemaAnswer,
  ask: Ask,
  seen: Set<string>,
): Promise<WholeSchema['references']> {
  const found: { name: string; schema: string }[] = []
  for (const { name, subject, version } of references) {
    const path = `/subjects/${encodeURIComponent(subject)}/versions/${version}`
    if (seen.has(path) || seen.size >= REFERENCES_MAX) continue
    seen.add(path)
    const referred = await ask(`${path}?deleted=true`)
    if (referred === null) continue
    found.push(...(await referredBy(referred, ask, seen)), { name, schema: referred.schema })
  }
  return found
}

function askerOf(url: string): Ask {
  const address = new URL(url)
  const { username, password } = address
  address.username = ''
  address.password = ''
  const base = address.href.replace(/\/+$/, '')
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const headers = {
    accept: 'application/vnd.schemaregistry.v1+json, application/json',
    ...(username === '' ? {} : { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }),
  }
  return async (path) => {
    try {
      const answer = await fetch(base + path, {
        headers,
        signal: AbortSignal.timeout(ASK_MS_MAX),
        redirect: 'error',
      })
      const body: unknown = await answer.json()
      if (answer.ok) return schemaAnswer.parse(body)
      if (answer.status === 404 && NOT_THERE.includes(codeIn(body))) return null
      throw new Error(`it answered ${answer.status}`)
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      throw new ProblemError('schema_registry_unavailable', `The schema registry did not answer: ${detail}`, {
        cause: error,
      })
    }
  }
}

const codeIn = (body: unknown): unknown =>
  typeof body === 'object' && body !== null && 'error_code' in body ? body.error_code : null
