/** Field names whose values are never written, in any letter case that our code or HTTP headers use. */
const SECRET_FIELDS = [
  'authorization',
  'Authorization',
  'cookie',
  'password',
  'secret',
  'token',
  'api_key',
  'apiKey',
  'database_url',
  'databaseUrl',
  'HEADRACE_DATABASE_URL',
  'HEADRACE_API_KEY',
  'clientSecret',
  'HEADRACE_KAFKA_SASL_PASSWORD',
  'HEADRACE_KAFKA_OAUTH_CLIENT_SECRET',
  'HEADRACE_SCHEMA_REGISTRY_PASSWORD',
  'HEADRACE_SCHEMA_REGISTRY_TOKEN',
]

/** The same, as pino redaction paths: at the top of a line, and one and two objects down. */
export const SECRET_PATHS: string[] = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`])

/** `scheme://user:password@host`: everything between the user's colon and the last @ before the host. */
const URL_PASSWORD = /(:\/\/[^\s:/@"\\]*):[^\s/"\\]+@/g
/** Our API keys: `hr_<environment>_<id>_<secret>`; the id stays, so that a line can be traced to a key. */
const API_KEY_SECRET = /\b(hr_[A-Za-z0-9]+_[A-Za-z0-9]+)_[A-Za-z0-9_-]+/g
const BEARER = /\b(Bearer) +[A-Za-z0-9._~+/=-]+/gi

/** Cuts secrets out of a finished line by their shape: drivers put connection URLs into error messages. */
export function scrubSecrets(line: string): string {
  let scrubbed = line
  if (line.includes('://')) scrubbed = scrubbed.replace(URL_PASSWORD, '$1:[redacted]@')
  if (line.includes('hr_')) scrubbed = scrubbed.replace(API_KEY_SECRET, '$1_[redacted]')
  if (/bearer/i.test(line)) scrubbed = scrubbed.replace(BEARER, '$1 [redacted]')
  return scrubbed
}
