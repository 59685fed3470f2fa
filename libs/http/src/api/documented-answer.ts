import { isDeepStrictEqual } from 'node:util'
import type { z } from 'zod'
import { problemCodesOf } from './openapi-document.ts'
import type { Operation } from './operation.ts'
import { operations } from './operations.ts'

export interface GivenAnswer {
  method: string
  /** With its query, as it was asked for. */
  url: string
  status: number
  /** Parsed; null: none. */
  body: unknown
}

/**
 * What of an answer the OpenAPI document does not say: a status, the code of a problem, a field that is missing, of
 * another kind, or not described. Null: nothing, or no route of the API was asked. For tests that ask the real API.
 */
export function undocumented({ method, url, status, body }: GivenAnswer): string | null {
  const path = url.split('?', 1)[0] ?? ''
  const found = operationAt(method, path)
  if (found === null) return null
  const [route, operation] = found
  const codes = problemCodesOf(route, operation).get(status) ?? []
  const code = typeof body === 'object' && body !== null && 'code' in body ? body.code : undefined
  if (typeof code === 'string' && codes.some((known) => known === code)) return null
  const answer = operation.answers[status]
  if (answer === undefined)
    return `${route} answers ${status} ${String(code)}, which its operation does not say`
  if (answer.schema === undefined || answer.type !== undefined) return null
  const fault = faultOf(answer.schema, body)
  return fault === null ? null : `${route}, ${status}: ${fault}`
}

function faultOf(schema: z.ZodType, body: unknown): string | null {
  const result = schema.safeParse(body)
  if (!result.success)
    return result.error.issues.map(({ path, message }) => `${path.join('/')}: ${message}`).join('; ')
  // Parsing leaves out what the schema does not have.
  if (isDeepStrictEqual(result.data, body)) return null
  return `the answer has fields that the operation does not: ${JSON.stringify(body)}, of which it knows ${JSON.stringify(result.data)}`
}

const patterns = Object.entries(operations).map(([route, operation]) => {
  const [method = '', path = ''] = route.split(' ')
  return { method, pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`), route, operation }
})

/** Words come before parameters, as in the router. */
function operationAt(method: string, path: string): [route: string, operation: Operation] | null {
  const fits = patterns.filter((each) => each.method === method && each.pattern.test(path))
  const [first] = fits.sort((a, b) => a.route.split('{').length - b.route.split('{').length)
  return first === undefined ? null : [first.route, first.operation]
}
