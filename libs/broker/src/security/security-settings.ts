import { readFile } from 'node:fs/promises'
import { messageOf } from '../broker-error.ts'
import type { KafkaSecurity, SaslOptions } from './kafka-security.ts'
import { SecretError } from './secret-error.ts'

/** Every variable that says how to speak to Kafka; the same for apps, the command line and workers. */
export const SECURITY_SETTINGS = [
  'HEADRACE_KAFKA_TLS',
  'HEADRACE_KAFKA_TLS_CA_FILE',
  'HEADRACE_KAFKA_TLS_CERT_FILE',
  'HEADRACE_KAFKA_TLS_KEY_FILE',
  'HEADRACE_KAFKA_SASL_MECHANISM',
  'HEADRACE_KAFKA_SASL_USERNAME',
  'HEADRACE_KAFKA_SASL_PASSWORD',
  'HEADRACE_KAFKA_SASL_PASSWORD_FILE',
  'HEADRACE_KAFKA_OAUTH_TOKEN_URL',
  'HEADRACE_KAFKA_OAUTH_CLIENT_ID',
  'HEADRACE_KAFKA_OAUTH_CLIENT_SECRET',
  'HEADRACE_KAFKA_OAUTH_CLIENT_SECRET_FILE',
  'HEADRACE_KAFKA_OAUTH_SCOPE',
] as const
type Setting = (typeof SECURITY_SETTINGS)[number]

const MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer'] as const
type Mechanism = (typeof MECHANISMS)[number]

export interface SettingProblem {
  readonly variable: string
  readonly message: string
}

export interface SecuritySettings {
  /** Reads the files that the settings name, each time. */
  readonly security: () => Promise<KafkaSecurity>
  /** What is wrong with the settings, all of it; values are not repeated. */
  readonly problems: readonly SettingProblem[]
}

/**
 * The security of Kafka's connections as the environment says it. An empty variable counts as absent. A file that is
 * missing is no problem here: it is looked for when a connection is opened, and that is when its absence is said.
 */
export function securitySettings(env: Readonly<Record<string, string | undefined>>): SecuritySettings {
  return new Reading(env).result()
}

/** One reading of the variables: every fault is noted, none ends it. */
class Reading {
  readonly #env: Readonly<Record<string, string | undefined>>
  readonly #problems: SettingProblem[] = []

  constructor(env: Readonly<Record<string, string | undefined>>) {
    this.#env = env
  }

  result(): SecuritySettings {
    const ssl = this.#tls()
    const sasl = this.#sasl()
    const security = async (): Promise<KafkaSecurity> => {
      const [tls, named] = [await ssl(), await sasl()]
      return { ...(tls === null ? {} : { ssl: tls }), ...(named === null ? {} : { sasl: named }) }
    }
    return { security, problems: this.#problems }
  }

  #get(variable: Setting): string | null {
    const value = this.#env[variable]
    return value === undefined || value === '' ? null : value
  }

  #wrong(variable: Setting, message: string): void {
    this.#problems.push({ variable, message })
  }

  #tls(): () => Promise<NonNullable<KafkaSecurity['ssl']> | null> {
    const files = {
      ca: 'HEADRACE_KAFKA_TLS_CA_FILE',
      cert: 'HEADRACE_KAFKA_TLS_CERT_FILE',
      key: 'HEADRACE_KAFKA_TLS_KEY_FILE',
    } as const
    const given = Object.entries(files).filter(([, variable]) => this.#get(variable) !== null)
    const asked = this.#get('HEADRACE_KAFKA_TLS') ?? (given.length > 0 ? 'on' : 'off')
    if (asked !== 'on' && asked !== 'off') this.#wrong('HEADRACE_KAFKA_TLS', 'must be on or off')
    if (asked === 'off') {
      for (const [, variable] of given) this.#wrong(variable, 'is of no use with HEADRACE_KAFKA_TLS=off')
      return async () => await Promise.resolve(null)
    }
    this.#together(files.cert, files.key)
    return async () => {
      const read = await Promise.all(
        given.map(async ([option, variable]) => [option, await fileOf(variable, this.#get(variable))]),
      )
      return Object.fromEntries(read) as Record<string, string>
    }
  }

  #together(a: Setting, b: Setting): void {
    if (this.#get(a) === null && this.#get(b) !== null) this.#wrong(a, `must be set with ${b}`)
    if (this.#get(b) === null && this.#get(a) !== null) this.#wrong(b, `must be set with ${a}`)
  }

  #sasl(): () => Promise<SaslOptions | null> {
    const text = this.#get('HEADRACE_KAFKA_SASL_MECHANISM')
    const mechanism = MECHANISMS.find((name) => name === text?.toLowerCase())
    if (text !== null && mechanism === undefined)
      this.#wrong('HEADRACE_KAFKA_SASL_MECHANISM', `must be one of ${MECHANISMS.join(', ')}`)
    else this.#useless(mechanism)
    if (mechanism === undefined) return async () => await Promise.resolve(null)
    return mechanism === 'oauthbearer' ? this.#oauth() : this.#password(mechanism)
  }

  /** A name or secret that no mechanism takes would be believed to be in use. */
  #useless(mechanism: Mechanism | undefined): void {
    const isOAuth = mechanism === 'oauthbearer'
    for (const variable of SECURITY_SETTINGS) {
      const ofOAuth = variable.includes('_OAUTH_')
      const ofPassword = /_SASL_(?:USERNAME|PASSWORD)/.test(variable)
      if (this.#get(variable) === null || !(ofOAuth || ofPassword)) continue
      if (mechanism === undefined) this.#wrong(variable, 'is of no use without HEADRACE_KAFKA_SASL_MECHANISM')
      else if (ofOAuth !== isOAuth)
        this.#wrong(variable, `is of no use with HEADRACE_KAFKA_SASL_MECHANISM=${mechanism}`)
    }
  }

  #password(mechanism: Exclude<Mechanism, 'oauthbearer'>): () => Promise<SaslOptions> {
    const username = this.#needed('HEADRACE_KAFKA_SASL_USERNAME')
    const password = this.#secret('HEADRACE_KAFKA_SASL_PASSWORD', 'HEADRACE_KAFKA_SASL_PASSWORD_FILE')
    return async () => ({ mechanism, username, password: await password() })
  }

  #oauth(): () => Promise<SaslOptions> {
    const tokenUrl = this.#needed('HEADRACE_KAFKA_OAUTH_TOKEN_URL')
    const isUrl = URL.canParse(tokenUrl) && /^https?:$/.test(new URL(tokenUrl).protocol)
    if (tokenUrl !== '' && !isUrl)
      this.#wrong('HEADRACE_KAFKA_OAUTH_TOKEN_URL', 'must be a URL: http://… or https://…')
    const clientId = this.#needed('HEADRACE_KAFKA_OAUTH_CLIENT_ID')
    const scope = this.#get('HEADRACE_KAFKA_OAUTH_SCOPE')
    const secret = this.#secret(
      'HEADRACE_KAFKA_OAUTH_CLIENT_SECRET',
      'HEADRACE_KAFKA_OAUTH_CLIENT_SECRET_FILE',
    )
    return async () => ({
      mechanism: 'oauthbearer',
      tokenUrl,
      clientId,
      clientSecret: await secret(),
      ...(scope === null ? {} : { scope }),
    })
  }

  #needed(variable: Setting): string {
    const value = this.#get(variable)
    if (value === null) this.#wrong(variable, 'must be set')
    return value ?? ''
  }

  #secret(plain: Setting, file: Setting): () => Promise<string> {
    const [value, path] = [this.#get(plain), this.#get(file)]
    if (value === null && path === null) this.#wrong(plain, `must be set, or ${file}`)
    if (value !== null && path !== null) this.#wrong(plain, `must not be set together with ${file}`)
    return async () => value ?? (await fileOf(file, path)).replace(/\r?\n$/, '')
  }
}

async function fileOf(variable: Setting, path: string | null): Promise<string> {
  try {
    return await readFile(path ?? '', 'utf8')
  } catch (error) {
    throw new SecretError(`the file of ${variable} cannot be read: ${messageOf(error)}`, { cause: error })
  }
}
