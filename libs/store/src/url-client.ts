import { readFileSync } from 'node:fs'
import { Client, type ClientConfig } from 'pg'

/**
 * A client that reads the files its URL names when it is made, which a pool does for each connection: so what is in them may
 * change. `password_file` is ours; `sslrootcert`, `sslcert` and `sslkey` are read by pg. A file that cannot be read is
 * an error of the connection, as a refused password is, and heals like it.
 */
export class UrlClient extends Client {
  readonly #fault: Error | null

  constructor(config: ClientConfig = {}) {
    const { connectionString, fault } = withFiles(config.connectionString ?? '')
    super({ ...config, connectionString })
    this.#fault = fault
  }

  override connect(): Promise<Client>
  override connect(callback: Connected): void
  override connect(callback?: Connected): Promise<Client> | void {
    const fault = this.#fault
    if (callback === undefined)
      return fault === null
        ? super.connect().catch((error: unknown) => Promise.reject(withHint(error)))
        : Promise.reject(fault)
    if (fault === null)
      super.connect((error: Error | null, client?: Client) => callback(withHint(error), client))
    else process.nextTick(() => callback(fault))
  }
}

type Connected = (error: Error | null, client?: Client) => void

const FILES = ['sslrootcert', 'sslcert', 'sslkey']

/** A constructor must not throw: a pool may call it where nobody hears of that. */
function withFiles(given: string): { connectionString: string; fault: Error | null } {
  if (!URL.canParse(given)) return { connectionString: given, fault: null }
  const url = new URL(given)
  const passwordFile = url.searchParams.get('password_file')
  url.searchParams.delete('password_file')
  try {
    if (passwordFile !== null) url.password = encodeURIComponent(readFileSync(passwordFile, 'utf8').trim())
    for (const name of FILES) {
      const file = url.searchParams.get(name)
      if (file !== null) readFileSync(file)
    }
    return { connectionString: url.toString(), fault: null }
  } catch (error) {
    for (const name of FILES) url.searchParams.delete(name)
    const message = `a file of HEADRACE_DATABASE_URL or HEADRACE_DATABASE_PASSWORD_FILE cannot be read: ${String(error)}`
    const fault = Object.assign(new Error(message, { cause: error }), { code: 'ENOENT' })
    return { connectionString: url.toString(), fault }
  }
}

/** Node's and OpenSSL's codes for a certificate that is not believed. */
export const certificateCodes: ReadonlySet<string> = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

export const NO_TLS = 'The server does not support SSL connections'

/** Says which part of the URL is to be looked at. */
function withHint<Thrown>(error: Thrown): Thrown {
  if (!(error instanceof Error)) return error
  const code = 'code' in error ? error.code : undefined
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    error.message += ' (the host in HEADRACE_DATABASE_URL must be one that the certificate of Postgres names)'
  else if (typeof code === 'string' && certificateCodes.has(code))
    error.message +=
      ' (sslrootcert in HEADRACE_DATABASE_URL must name a file with the authority that signed the certificate of Postgres)'
  else if (error.message.startsWith('unsupported startup parameter'))
    error.message +=
      ' (a pooler is in between, such as PgBouncer; HEADRACE_DATABASE_URL must lead to Postgres itself)'
  else if (error.message === NO_TLS)
    error.message += ' (sslmode in HEADRACE_DATABASE_URL asks for TLS, and Postgres has ssl=off)'
  return error
}
