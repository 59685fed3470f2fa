import { readFile } from 'node:fs/promises'
import { openRegistry, type RegistryAccess, type RegistryCredentials } from './registry-access.ts'

const URL_SETTING = 'HEADRACE_SCHEMA_REGISTRY_URL'
/** Every variable that says how to be let in by the registry. */
const ACCESS_SETTINGS = [
  'HEADRACE_SCHEMA_REGISTRY_USERNAME',
  'HEADRACE_SCHEMA_REGISTRY_PASSWORD',
  'HEADRACE_SCHEMA_REGISTRY_PASSWORD_FILE',
  'HEADRACE_SCHEMA_REGISTRY_TOKEN',
  'HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE',
  'HEADRACE_SCHEMA_REGISTRY_TLS_CA_FILE',
  'HEADRACE_SCHEMA_REGISTRY_TLS_CERT_FILE',
  'HEADRACE_SCHEMA_REGISTRY_TLS_KEY_FILE',
] as const
type Setting = (typeof ACCESS_SETTINGS)[number]

export interface RegistrySettings {
  /** Null: no registry is configured. */
  readonly access: RegistryAccess | null
  /** What is wrong with the settings, all of it; values are not repeated. */
  readonly problems: readonly { readonly variable: string; readonly message: string }[]
}

/**
 * The schema registry as the environment says it. An empty variable counts as absent. A file that is missing is no problem
 * here: it is read at each request, and that is when its absence is said.
 */
export function registrySettings(env: Readonly<Record<string, string | undefined>>): RegistrySettings {
  const get = (variable: Setting | typeof URL_SETTING): string | null => env[variable] || null
  const url = get(URL_SETTING)
  const problems: { variable: string; message: string }[] = []
  const wrong = (variable: string, message: string): void => void problems.push({ variable, message })
  const isUrl = url !== null && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)
  if (url === null) {
    for (const variable of ACCESS_SETTINGS)
      if (get(variable) !== null) wrong(variable, `is of no use without ${URL_SETTING}`)
    return { access: null, problems }
  }
  if (!isUrl) {
    wrong(URL_SETTING, 'must be a URL: http://… or https://…')
    return { access: null, problems }
  }
  contradictions(url, get, wrong)
  return { access: { ...openRegistry(url), credentials: async () => await credentialsOf(get) }, problems }
}

type Get = (variable: Setting) => string | null

function contradictions(url: string, get: Get, wrong: (variable: string, message: string) => void): void {
  const { username, protocol } = new URL(url)
  const secret = (plain: Setting, file: Setting): boolean => {
    if (get(plain) !== null && get(file) !== null) wrong(plain, `must not be set together with ${file}`)
    return get(plain) !== null || get(file) !== null
  }
  const user = get('HEADRACE_SCHEMA_REGISTRY_USERNAME') !== null
  const password = secret('HEADRACE_SCHEMA_REGISTRY_PASSWORD', 'HEADRACE_SCHEMA_REGISTRY_PASSWORD_FILE')
  const token = secret('HEADRACE_SCHEMA_REGISTRY_TOKEN', 'HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE')
  if (user !== password)
    wrong('HEADRACE_SCHEMA_REGISTRY_USERNAME', 'must be set with a password, and a password with it')
  if (user && token)
    wrong('HEADRACE_SCHEMA_REGISTRY_TOKEN', 'must not be set together with HEADRACE_SCHEMA_REGISTRY_USERNAME')
  if (username !== '' && (user || token))
    wrong(URL_SETTING, 'must hold no user where there are settings of a user or a token')
  const [cert, key] = [
    'HEADRACE_SCHEMA_REGISTRY_TLS_CERT_FILE',
    'HEADRACE_SCHEMA_REGISTRY_TLS_KEY_FILE',
  ] as const
  if ((get(cert) === null) !== (get(key) === null)) wrong(cert, `must be set with ${key}, and that with it`)
  if (protocol === 'https:') return
  for (const variable of ['HEADRACE_SCHEMA_REGISTRY_TLS_CA_FILE', cert] as const)
    if (get(variable) !== null) wrong(variable, `is of no use without https in ${URL_SETTING}`)
}

async function credentialsOf(get: Get): Promise<RegistryCredentials> {
  const secret = async (plain: Setting, file: Setting): Promise<string | null> =>
    get(plain) ?? (await fileOf(file, get(file)))?.replace(/\r?\n$/, '') ?? null
  const token = await secret('HEADRACE_SCHEMA_REGISTRY_TOKEN', 'HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE')
  const password = await secret('HEADRACE_SCHEMA_REGISTRY_PASSWORD', 'HEADRACE_SCHEMA_REGISTRY_PASSWORD_FILE')
  const user = get('HEADRACE_SCHEMA_REGISTRY_USERNAME')
  const named = {
    ca: 'HEADRACE_SCHEMA_REGISTRY_TLS_CA_FILE',
    cert: 'HEADRACE_SCHEMA_REGISTRY_TLS_CERT_FILE',
    key: 'HEADRACE_SCHEMA_REGISTRY_TLS_KEY_FILE',
  } as const
  const tls: Record<string, string> = {}
  for (const [option, variable] of Object.entries(named)) {
    const text = await fileOf(variable, get(variable))
    if (text !== null) tls[option] = text
  }
  if (token !== null) return { authorization: `Bearer ${token}`, tls }
  return { authorization: user === null || password === null ? null : basic(user, password), tls }
}

export const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

async function fileOf(variable: Setting, path: string | null): Promise<string | null> {
  if (path === null) return null
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`the file of ${variable} cannot be read: ${reason}`, { cause: error })
  }
}
