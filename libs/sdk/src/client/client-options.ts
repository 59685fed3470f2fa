import { type Duration, durationMs } from '@headrace/schemas'

export interface ClientOptions {
  /** The gateway's base URL. Default: `HEADRACE_URL`, where there is an environment. */
  url?: string
  /** Default: `HEADRACE_API_KEY`. Never ship one to a browser that may do more than its user may. */
  apiKey?: string
  /** Longest time of one call, all attempts together: seconds, or `'30s'`; default 30 s. */
  timeout?: Duration
  /** Another `fetch`, for example of a test. */
  fetch?: typeof globalThis.fetch
}

/** Of one call. */
export interface CallOptions {
  /** Instead of the client's. */
  timeout?: Duration
  /** Aborting it rejects the call with the signal's reason; whether a publish took effect is then not known. */
  signal?: AbortSignal
}

const TIMEOUT_DEFAULT_MS = 30_000

export interface ClientSettings {
  url: string
  apiKey: string | null
  timeoutMs: number
  fetch: typeof globalThis.fetch
}

/** Throws TypeError that names the option or variable. */
export function clientSettings(options: ClientOptions): ClientSettings {
  const url = options.url ?? environment('HEADRACE_URL')
  if (url === null)
    throw new TypeError(
      'new Client({ url }): give the gateway’s URL, or set HEADRACE_URL, for example http://localhost:8080',
    )
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new TypeError(`HEADRACE_URL (or url) must be an http or https URL, not "${url}"`)
  return {
    url: url.replace(/\/+$/, ''),
    apiKey: options.apiKey ?? environment('HEADRACE_API_KEY'),
    timeoutMs: timeoutMsOf(options.timeout, TIMEOUT_DEFAULT_MS),
    // Called as a bare function: a browser's fetch refuses another `this`.
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
  }
}

/** Throws TypeError when it is no duration. */
export function timeoutMsOf(timeout: Duration | undefined, fallbackMs: number): number {
  if (timeout === undefined) return fallbackMs
  const ms = durationMs(timeout)
  if (ms === null) throw new TypeError(`timeout must be seconds, or '30s', not ${JSON.stringify(timeout)}`)
  return ms
}

/** A browser has no `process`. */
function environment(variable: string): string | null {
  const value = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.[
    variable
  ]
  return value === undefined || value === '' ? null : value
}
