import { z } from 'zod'
import type { WholeSchema } from './decode/schema-reader.ts'
import type { RegistryAccess } from './registry-access.ts'
import { askerOf, isAbsent, unavailable, unexpected } from './registry-http.ts'

/** Schemas that one schema refers to, directly or not. */
const REFERENCES_MAX = 200

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

/** Of a registry with Confluent's API. */
export function createSchemaSource(access: RegistryAccess): SchemaSource {
  const send = askerOf(access)
  const ask: Ask = async (path) => {
    const answer = await send({ method: 'GET', path })
    if (isAbsent(answer)) return null
    if (answer.status >= 300) throw unexpected(answer)
    const read = schemaAnswer.safeParse(answer.body)
    if (read.success) return read.data
    throw unavailable('answered as no registry does', read.error)
  }
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
