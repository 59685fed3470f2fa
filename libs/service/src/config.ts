import type { z } from 'zod'
import { KNOWN_SETTINGS } from './setting-names.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface ConfigProblem {
  variable: string
  message: string
}

/** The settings are wrong. The message has a line for each variable; values are not repeated, they may be secrets. */
export class ConfigError extends Error {
  readonly code = 'config_invalid'
  override readonly name = 'ConfigError'
  readonly problems: readonly ConfigProblem[]

  constructor(problems: readonly ConfigProblem[]) {
    super(['The settings are not valid:', ...problems.map((p) => `  ${p.variable}: ${p.message}`)].join('\n'))
    this.problems = problems
  }
}

export interface ParseConfigOptions {
  /** Names that are no setting of this process, but may stand in its environment. */
  allowed?: readonly string[]
}

/** Three letters off is still a typo; more is another word. */
const TYPO_DISTANCE_MAX = 3

/**
 * Parses the environment, once, at the edge. The schema's keys are the variables' own names. An empty variable
 * counts as absent, as in docker compose and Kubernetes. A `HEADRACE_*` variable that nobody knows is an error,
 * because it is a typo and the setting that was meant would silently keep its default.
 *
 * Throws ConfigError with every problem at once.
 */
export function parseConfig<Schema extends z.ZodObject>(
  schema: Schema,
  env: Environment,
  { allowed = [] }: ParseConfigOptions = {},
): z.output<Schema> {
  const own = Object.keys(schema.shape)
  const values: Record<string, string> = {}
  for (const name of own) {
    const value = env[name]
    if (value !== undefined && value !== '') values[name] = value
  }
  const parsed = schema.safeParse(values)
  const unknown = unknownSettings(env, new Set<string>([...own, ...KNOWN_SETTINGS, ...allowed]))
  if (parsed.success && unknown.length === 0) return parsed.data
  const wrong = (parsed.error?.issues ?? []).map((issue): ConfigProblem => {
    const variable = String(issue.path[0] ?? 'settings')
    const missing = own.includes(variable) && !Object.hasOwn(values, variable)
    return { variable, message: missing ? 'must be set' : issue.message }
  })
  throw new ConfigError([...wrong, ...unknown])
}

function unknownSettings(env: Environment, known: ReadonlySet<string>): ConfigProblem[] {
  return Object.keys(env)
    .filter((name) => name.startsWith('HEADRACE_') && !name.startsWith('HEADRACE_TEST_') && !known.has(name))
    .sort()
    .map((variable) => {
      const nearest = nearestName(variable, known)
      return {
        variable,
        message: `there is no such setting${nearest === null ? '' : `; did you mean ${nearest}?`}`,
      }
    })
}

/** The known name that is fewest edits away, if it is near enough to be what was meant. */
export function nearestName(name: string, known: Iterable<string>): string | null {
  let nearest: string | null = null
  let least = TYPO_DISTANCE_MAX + 1
  for (const candidate of known) {
    const distance = editDistance(name, candidate)
    if (distance < least) {
      least = distance
      nearest = candidate
    }
  }
  return nearest
}

/** Levenshtein, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 0; i < a.length; i += 1) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j += 1) {
      const substituted = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1)
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
