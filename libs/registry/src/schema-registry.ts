import { ProblemError } from '@headrace/schemas'
import { z } from 'zod'
import type { RegistryAccess } from './registry-access.ts'
import {
  type AskRegistry,
  askerOf,
  isAbsent,
  reasonOf,
  registryBase,
  type RegistryAnswer,
  unavailable,
  unexpected,
} from './registry-http.ts'

/** What a new version of a subject is held to: it reads what the one before wrote, or nothing. */
type CompatibilityLevel = 'BACKWARD' | 'NONE'

export interface SubjectSchema {
  readonly subject: string
  readonly type: 'JSON' | 'AVRO'
  /** The schema as text. */
  readonly schema: string
  readonly level: CompatibilityLevel
  /** The subject is Headrace's by its name: its level follows. Of others the level is set with the first version only. */
  readonly owned: boolean
}

interface RegisteredSchema {
  /** Of the schema, in the whole registry. */
  readonly id: number
  /** Of the subject. */
  readonly version: number
  /** The URL of this version. */
  readonly url: string
}

/**
 * A schema registry that is written to. All of it throws `schema_registry_unavailable` when the registry cannot be asked, and
 * `schema_unusable` for what it does not take for a schema.
 */
export interface SchemaRegistry {
  /** Is this a version that the registry has given out? */
  isOwnUrl(url: string): boolean
  /**
   * Changes nothing. The version where the subject has the schema already, else null. Throws `schema_incompatible` with the
   * registry's reason for what would be refused; not where another level would have to be set first.
   */
  check(schema: SubjectSchema, signal?: AbortSignal): Promise<RegisteredSchema | null>
  /** The same schema again is the same version. Throws `schema_incompatible` with the registry's reason. */
  register(schema: SubjectSchema, signal?: AbortSignal): Promise<RegisteredSchema>
}

/** Each time another version was stored, so somebody gets on. */
const STORE_ATTEMPTS_MAX = 20

const idAnswer = z.object({ id: z.int() })
const versionAnswer = z.object({ id: z.int(), version: z.int() })
const versionsAnswer = z.array(z.int())
const levelAnswer = z
  .object({ compatibilityLevel: z.string().optional(), compatibility: z.string().optional() })
  .transform(({ compatibilityLevel, compatibility }) => compatibilityLevel ?? compatibility ?? null)
const verdictAnswer = z.object({ is_compatible: z.boolean(), messages: z.array(z.string()).nullish() })

export function createSchemaRegistry(access: RegistryAccess): SchemaRegistry {
  return new Registry(askerOf(access), registryBase(access.url))
}

class Registry implements SchemaRegistry {
  readonly #ask: AskRegistry
  readonly #base: string

  constructor(ask: AskRegistry, base: string) {
    this.#ask = ask
    this.#base = base
  }

  isOwnUrl(url: string): boolean {
    return url.startsWith(`${this.#base}/subjects/`)
  }

  async check(wanted: SubjectSchema, signal?: AbortSignal): Promise<RegisteredSchema | null> {
    const known = await this.#find(wanted, signal)
    if (known !== null) return known
    // What another level would say cannot be asked without setting it.
    if (wanted.owned && (await this.#level(wanted.subject, signal)) !== wanted.level) return null
    const reason = await this.#misfit(wanted, signal)
    if (reason === null) return null
    throw incompatible(wanted, reason)
  }

  async register(wanted: SubjectSchema, signal?: AbortSignal): Promise<RegisteredSchema> {
    const { subject, level, owned } = wanted
    const isNew = !(await this.#hasVersions(subject, signal))
    const before = isNew || !owned ? null : await this.#level(subject, signal)
    // Before the version: the first one must be held to it by the second, and a second one by it too.
    const changesLevel = isNew || (owned && before !== level)
    const isSet = !changesLevel || (await this.#setLevel(subject, level, signal))
    try {
      await this.#store(wanted, signal)
      // Apicurio takes NONE for what is there only.
      if (!isSet) await this.#setLevel(subject, level, signal)
      const registered = await this.#find(wanted, signal)
      if (registered !== null) return registered
      throw unavailable('does not have what it has just taken')
    } catch (error) {
      // Also when there is no time left for the rest.
      if (changesLevel && before !== null) await this.#setLevel(subject, before).catch(() => undefined)
      throw error
    }
  }

  /** Two that are stored at once: Apicurio refuses one of them with the status of one that does not fit. */
  async #store(wanted: SubjectSchema, signal?: AbortSignal): Promise<void> {
    const path = `${pathOf(wanted.subject)}/versions`
    for (let attempt = 1; attempt <= STORE_ATTEMPTS_MAX; attempt += 1) {
      const answer = await this.#ask({ method: 'POST', path, body: bodyOf(wanted), signal })
      if (answer.status !== 409) return void taken(answer, idAnswer)
      const misfit = await this.#misfit(wanted, signal)
      if (misfit !== null) throw incompatible(wanted, reasonOf(answer.body) ?? misfit)
    }
    throw unavailable('is storing other versions of the same subject all the time')
  }

  /** Why it would be refused by the level as it is; null: it would not be. */
  async #misfit(wanted: SubjectSchema, signal?: AbortSignal): Promise<string | null> {
    const path = `/compatibility${pathOf(wanted.subject)}/versions/latest?verbose=true`
    const answer = await this.#ask({ method: 'POST', path, body: bodyOf(wanted), signal })
    if (isAbsent(answer)) return null
    const { is_compatible: fits, messages } = taken(answer, verdictAnswer)
    return fits ? null : messages?.join('; ') || 'it does not read what the one before it wrote'
  }

  /** Null: the subject does not have the schema. */
  async #find(wanted: SubjectSchema, signal?: AbortSignal): Promise<RegisteredSchema | null> {
    const path = pathOf(wanted.subject)
    const answer = await this.#ask({ method: 'POST', path, body: bodyOf(wanted), signal })
    if (isAbsent(answer)) return null
    const { id, version } = taken(answer, versionAnswer)
    return { id, version, url: `${this.#base}${path}/versions/${version}` }
  }

  async #hasVersions(subject: string, signal?: AbortSignal): Promise<boolean> {
    const answer = await this.#ask({ method: 'GET', path: `${pathOf(subject)}/versions`, signal })
    return !isAbsent(answer) && taken(answer, versionsAnswer).length > 0
  }

  /** Null: it has none of its own. */
  async #level(subject: string, signal?: AbortSignal): Promise<string | null> {
    const answer = await this.#ask({ method: 'GET', path: configOf(subject), signal })
    return isAbsent(answer) ? null : taken(answer, levelAnswer)
  }

  /** False: there is no such subject yet. */
  async #setLevel(subject: string, compatibility: string, signal?: AbortSignal): Promise<boolean> {
    const answer = await this.#ask({
      method: 'PUT',
      path: configOf(subject),
      body: { compatibility },
      signal,
    })
    if (isAbsent(answer)) return false
    if (answer.status >= 300) throw unexpected(answer)
    return true
  }
}

const pathOf = (subject: string): string => `/subjects/${encodeURIComponent(subject)}`
const configOf = (subject: string): string => `/config/${encodeURIComponent(subject)}`

const bodyOf = ({ type, schema }: SubjectSchema): object =>
  // Avro is what a registry takes a schema for that says no type; the oldest know no other way to say it.
  type === 'AVRO' ? { schema } : { schema, schemaType: type }

/** The body of a good answer; else the problem that the answer is. */
function taken<Shape extends z.ZodType>(answer: RegistryAnswer, shape: Shape): z.output<Shape> {
  const { status, body } = answer
  if (status === 422) {
    const reason = reasonOf(body) ?? 'it says no more'
    throw new ProblemError('schema_unusable', `The schema registry does not take the schema: ${reason}`)
  }
  if (status >= 300) throw unexpected(answer)
  const read = shape.safeParse(body)
  if (read.success) return read.data
  throw unavailable('answered as no registry does', read.error)
}

const incompatible = ({ subject }: SubjectSchema, reason: string): ProblemError =>
  new ProblemError(
    'schema_incompatible',
    `The schema does not fit the latest of ${subject}; the schema registry says: ${reason}`,
  )
