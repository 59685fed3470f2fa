import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { ProblemError } from '@headrace/schemas'
import type { RegistryAccess, RegistryCredentials } from './registry-access.ts'
import { basic } from './registry-settings.ts'

/** A registry that has not answered by then is taken for one that is away. */
const ASK_MS_MAX = 5_000
/** No schema is a hundredth as long; what is longer is no registry's answer. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024
/** The registry's own codes of what it definitely does not have; any other 404 comes from something else at its address. */
const NOT_THERE: readonly unknown[] = [40401, 40402, 40403, 40408]

interface RegistryRequest {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly body?: object
  readonly signal?: AbortSignal | undefined
}

export interface RegistryAnswer {
  readonly status: number
  readonly body: unknown
}

/** Asks a registry. Throws `schema_registry_unavailable` when it does not answer, or not in JSON. */
export type AskRegistry = (request: RegistryRequest) => Promise<RegistryAnswer>

/** What versions of schemas are found under: the registry's URL without its user, and without a slash at its end. */
export function registryBase(url: string): string {
  const address = new URL(url)
  address.username = ''
  address.password = ''
  return address.href.replace(/\/+$/, '')
}

export function askerOf(access: RegistryAccess): AskRegistry {
  const base = registryBase(access.url)
  const { username, password } = new URL(access.url)
  const inUrl = username === '' ? null : basic(decodeURIComponent(username), decodeURIComponent(password))
  return async ({ method, path, body, signal }) => {
    try {
      const { authorization, tls } = await access.credentials()
      return await exchange(base + path, {
        method,
        tls,
        authorization: authorization ?? inUrl,
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.any([AbortSignal.timeout(ASK_MS_MAX), ...(signal ? [signal] : [])]),
      })
    } catch (error) {
      throw unavailable(`did not answer: ${messageOf(error)}`, error)
    }
  }
}

export const unavailable = (what: string, cause?: unknown): ProblemError =>
  new ProblemError('schema_registry_unavailable', `The schema registry ${what}`, { cause })

/** An answer that is no registry's own refusal: who stands before it, or a fault within. */
export const unexpected = ({ status, body }: RegistryAnswer): ProblemError => {
  const reason = reasonOf(body)
  return unavailable(`answered ${status}${reason === null ? '' : `: ${reason}`}`)
}

export const isAbsent = ({ status, body }: RegistryAnswer): boolean =>
  status === 404 && NOT_THERE.includes(fieldOf(body, 'error_code'))

/** The registry's own words; null: there are none. */
export function reasonOf(body: unknown): string | null {
  const message = fieldOf(body, 'message')
  return typeof message === 'string' && message !== '' ? message : null
}

const fieldOf = (body: unknown, field: string): unknown =>
  typeof body === 'object' && body !== null ? Reflect.get(body, field) : null

interface Exchange {
  readonly method: string
  readonly tls: RegistryCredentials['tls']
  readonly authorization: string | null
  readonly body: string | null
  readonly signal: AbortSignal
}

/** Over a connection of its own, so that certificates which have changed count at once. */
async function exchange(
  url: string,
  { method, tls, authorization, body, signal }: Exchange,
): Promise<RegistryAnswer> {
  const headers = {
    accept: 'application/vnd.schemaregistry.v1+json, application/json',
    ...(authorization === null ? {} : { authorization }),
    ...(body === null
      ? {}
      : {
          'content-type': 'application/vnd.schemaregistry.v1+json',
          'content-length': Buffer.byteLength(body),
        }),
  }
  const open = url.startsWith('https:') ? requestHttps : requestHttp
  return await new Promise<RegistryAnswer>((resolve, reject) => {
    const request = open(url, { method, headers, signal, agent: false, ...tls }, (answer) => {
      const chunks: Buffer[] = []
      let bytes = 0
      answer.on('error', reject)
      answer.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > ANSWER_BYTES_MAX) request.destroy(new Error('its answer is too long'))
      })
      answer.on('end', () => {
        const status = answer.statusCode ?? 0
        try {
          const text = Buffer.concat(chunks).toString('utf8')
          resolve({ status, body: JSON.parse(text) as unknown })
        } catch {
          reject(new Error(`it answered ${status}, and not in JSON`))
        }
      })
    })
    request.on('error', reject)
    request.end(body ?? undefined)
  })
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // Of several addresses each has an error of its own, and the whole no words.
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ')
  return error.message
}
