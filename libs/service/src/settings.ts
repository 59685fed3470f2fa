import { z } from 'zod'
import { ConfigError } from './config.ts'
import { LOG_LEVELS } from './log.ts'
import { DRAIN_TIMEOUT_DEFAULT_MS } from './service.ts'

/**
 * Shapes of settings, to be spread into an app's own `z.object({ … })` in its `config.ts`.
 * Keys are the variables' names; durations come out in milliseconds.
 */

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `250ms`, `25s`, `5m`, `1h`, `7d`, or a bare number of seconds → milliseconds. At most 366 days. */
export function durationSetting() {
  return z.string().transform((text, context) => {
    const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?$/.exec(text.trim())
    const unit = match?.[2] ?? 's'
    const ms = match === null ? Number.NaN : Number(match[1]) * UNIT_MS[unit as keyof typeof UNIT_MS]
    if (!(ms <= 366 * UNIT_MS.d)) {
      context.addIssue({
        code: 'custom',
        message: 'must be a duration such as 250ms, 25s, 5m or 7d, at most 366d',
      })
      return z.NEVER
    }
    return Math.round(ms)
  })
}

/** A whole number in `[least, most]`. */
export function integerSetting({ least, most }: { least: number; most: number }) {
  return z.string().transform((text, context) => {
    const value = /^-?[0-9]{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN
    if (!(value >= least && value <= most)) {
      context.addIssue({ code: 'custom', message: `must be a whole number from ${least} to ${most}` })
      return z.NEVER
    }
    return value
  })
}

/** A TCP port; 0 = any free one. */
export function portSetting() {
  return integerSetting({ least: 0, most: 65_535 })
}

/** `on` or `off`. */
export function switchSetting() {
  return z.enum(['on', 'off'], { error: 'must be on or off' }).transform((value) => value === 'on')
}

const ADDRESS = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})$/

/** `host:port[,host:port…]` → a list. */
export function addressListSetting() {
  return z.string().transform((text, context) => {
    const addresses = text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
    const valid = addresses.every((address) => {
      const port = Number(ADDRESS.exec(address)?.[1] ?? 0)
      return port >= 1 && port <= 65_535
    })
    if (addresses.length === 0 || !valid) {
      context.addIssue({ code: 'custom', message: 'must be host:port, or several separated by commas' })
      return z.NEVER
    }
    return addresses
  })
}

/** A URL with one of these schemes, kept as text. */
export function urlSetting(schemes: readonly string[]) {
  return z
    .string()
    .refine((text) => URL.canParse(text) && schemes.includes(new URL(text).protocol.slice(0, -1)), {
      error: `must be a URL: ${schemes.map((scheme) => `${scheme}://…`).join(' or ')}`,
    })
}

/** Kafka topic and group names start with it, and end at 249 characters. */
const PREFIX = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/

export const kafkaSettings = {
  HEADRACE_KAFKA_BROKERS: addressListSetting(),
  /** First part of the names of all our topics and groups. */
  HEADRACE_PREFIX: z
    .string()
    .regex(PREFIX, { error: 'must be 1 to 64 letters, digits, dots, dashes or underscores' })
    .default('headrace'),
  /** May we create topics; only check them; or neither. */
  HEADRACE_KAFKA_TOPICS: z
    .enum(['create', 'verify', 'off'], { error: 'must be create, verify or off' })
    .default('create'),
  /** Of topics that we create; -1 = the brokers' own default. */
  HEADRACE_KAFKA_REPLICATION_FACTOR: integerSetting({ least: -1, most: 15 })
    .refine((value) => value !== 0, { error: 'must be -1 (the brokers’ default) or at least 1' })
    .default(-1),
}

/** As Postgres takes it without quotes. */
const SCHEMA = /^[a-z_][a-z0-9_]{0,62}$/

export const databaseSettings = {
  HEADRACE_DATABASE_URL: urlSetting(['postgres', 'postgresql']),
  /** Where our tables are; migrations make it. */
  HEADRACE_DATABASE_SCHEMA: z
    .string()
    .regex(SCHEMA, { error: 'must be 1 to 63 lower-case letters, digits or underscores, no digit first' })
    .optional(),
  HEADRACE_DATABASE_PASSWORD_FILE: z.string().optional(),
}

/** One URL of what the three say: the schema as `search_path`, the file as `password_file`, which the store reads. */
export function databaseUrlOf(values: z.infer<z.ZodObject<typeof databaseSettings>>): string {
  const {
    HEADRACE_DATABASE_URL: given,
    HEADRACE_DATABASE_SCHEMA: schema,
    HEADRACE_DATABASE_PASSWORD_FILE: file,
  } = values
  if (schema === undefined && file === undefined) return given
  const url = new URL(given)
  if (file !== undefined) {
    if (url.password !== '')
      throw new ConfigError([
        {
          variable: 'HEADRACE_DATABASE_PASSWORD_FILE',
          message: 'cannot be set together with a password in HEADRACE_DATABASE_URL',
        },
      ])
    url.searchParams.set('password_file', file)
  }
  if (schema !== undefined)
    url.searchParams.set(
      'options',
      `${url.searchParams.get('options') ?? ''} -c search_path=${schema}`.trim(),
    )
  return url.toString()
}

export const processSettings = {
  HEADRACE_LOG_LEVEL: z
    .enum(LOG_LEVELS, { error: `must be one of ${LOG_LEVELS.join(', ')}` })
    .default('info'),
  /** How long a stop may drain before what is left is aborted. */
  HEADRACE_DRAIN_TIMEOUT: durationSetting().default(DRAIN_TIMEOUT_DEFAULT_MS),
}

/** Where an app listens. Loopback unless said: without authentication nothing else may reach it. */
export function listenSettings(defaults: { port: number; managementPort: number }) {
  return {
    HEADRACE_HOST: z.string().default('127.0.0.1'),
    HEADRACE_PORT: portSetting().default(defaults.port),
    ...managementSettings(defaults),
  }
}

/** The management port alone, for an app that serves nothing else. */
export function managementSettings(defaults: { managementPort: number }) {
  return { HEADRACE_MANAGEMENT_PORT: portSetting().default(defaults.managementPort) }
}
