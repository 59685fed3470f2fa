import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The part of an API server's OpenAPI that says how its objects look. */
interface OpenApi {
  definitions: Record<string, Definition>
}
interface Definition {
  type?: string
  format?: string
  description?: string
  properties?: Record<string, Definition>
  additionalProperties?: unknown
  'x-kubernetes-group-version-kind'?: { group: string; kind: string; version: string }[]
  [field: string]: unknown
}

const DEFINITIONS = '_definitions.json'

/**
 * Writes the schemas of kubeconform from an API server's own `/openapi/v2`: a file for each kind that points into one
 * file of definitions. Returns where kubeconform finds them.
 */
export async function writeSchemas(openapi: string, folder: string): Promise<string> {
  const { definitions }: OpenApi = JSON.parse(openapi)
  await mkdir(folder, { recursive: true })
  const strict = Object.fromEntries(Object.entries(definitions).map(([name, one]) => [name, strictly(one)]))
  await writeFile(join(folder, DEFINITIONS), JSON.stringify({ definitions: strict }))
  for (const [name, definition] of Object.entries(definitions)) {
    for (const { group, kind, version } of definition['x-kubernetes-group-version-kind'] ?? []) {
      const file = [kind, ...(group === '' ? [] : [group.split('.')[0]]), version].join('-').toLowerCase()
      const schema = { $ref: `${DEFINITIONS}#/definitions/${name}` }
      await writeFile(join(folder, `${file}.json`), JSON.stringify(schema))
    }
  }
  return join(folder, '{{ .ResourceKind }}{{ .KindSuffix }}.json')
}

/** No field that it does not name; and what is said with a format of Kubernetes' own, as JSON Schema says it. */
function strictly(definition: Definition): Definition {
  const { properties, additionalProperties } = definition
  if (definition.format === 'int-or-string') return { oneOf: [{ type: 'string' }, { type: 'integer' }] }
  // A quantity: the only definition that is a text and may be a number.
  if (definition.description?.includes('fixed-point representation of a number') === true)
    return { oneOf: [{ type: 'string' }, { type: 'number' }] }
  if (properties === undefined) return definition
  return {
    ...definition,
    ...(additionalProperties === undefined ? { additionalProperties: false } : {}),
    properties: Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, strictly(one)])),
  }
}
