import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type EventTypes, eventTypesOf, isEventDefinition } from '@headrace/sdk/worker'
import {
  ConfigError,
  type Environment,
  EXIT_CODES,
  parseConfig,
  runMain,
  urlSetting,
} from '@headrace/service'
import {
  type EventTypeBody,
  eventTypeName,
  type Problem,
  type WireEventType,
  type WireEventTypeDryRun,
} from '@headrace/schemas'
import { z } from 'zod'

const settings = z.object({
  HEADRACE_URL: urlSetting(['http', 'https']),
  HEADRACE_API_KEY: z.string().optional(),
})
/** A registry that is slow answers within; the orchestrator asks it once or twice for each type. */
const ANSWER_MS_MAX = 30_000

/** What became of one event type; `ok` is what the command's exit code says. */
interface Told {
  ok: boolean
  line: string
}

type Ask = (nameAndQuery: string, body: EventTypeBody) => Promise<Answer>
interface Answer {
  status: number
  body: unknown
}

/**
 * `headrace schemas push|check <module>`: the event types that a module exports, made, or compared by a dry run, which asks
 * a registry too. One line each; ends the process with 0, with 1 when one was refused or differs or when the module exports
 * none (the wrong module, most likely), with 2 when the settings are wrong.
 */
export async function runSchemas(env: Environment, action: 'push' | 'check', file: string): Promise<never> {
  return await runMain({
    start: async (signal) => {
      const { HEADRACE_URL: url, HEADRACE_API_KEY: apiKey } = parseConfig(settings, env)
      const { bodies, unregistered } = await eventTypesIn(file)
      const ask = asker({ url, apiKey, signal })
      const told: Told[] = unregistered.map(({ pattern, reason }) => ({
        ok: true,
        line: `${pattern}: left out: ${reason}`,
      }))
      for (const body of bodies) told.push(await (action === 'push' ? push(ask, body) : check(ask, body)))
      for (const { line } of told) process.stdout.write(`${line}\n`)
      if (bodies.length === 0) process.stdout.write(`${file} exports no event with a schema\n`)
      const ok = bodies.length > 0 && told.every((one) => one.ok)
      return process.exit(ok ? EXIT_CODES.stopped : EXIT_CODES.failed)
    },
  })
}

/** Of the definitions that the module exports. Throws ConfigError with the module's own reason. */
async function eventTypesIn(file: string): Promise<EventTypes> {
  try {
    const exported = (await import(pathToFileURL(resolve(file)).href)) as Record<string, unknown>
    return eventTypesOf(Object.values(exported).filter(isEventDefinition))
  } catch (error) {
    throw new ConfigError([{ variable: file, message: String(error) }])
  }
}

const asker =
  ({ url, apiKey, signal }: { url: string; apiKey: string | undefined; signal: AbortSignal }): Ask =>
  async (nameAndQuery, body) => {
    try {
      const answer = await fetch(`${url.replace(/\/+$/, '')}/v1/event-types/${nameAndQuery}`, {
        method: 'PUT',
        headers: {
          'content-type': 'application/json',
          ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        },
        signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
        body: JSON.stringify(body),
      })
      return { status: answer.status, body: await answer.json().catch(() => null) }
    } catch (error) {
      return { status: 0, body: { code: 'unreachable', detail: `${url}: ${String(error)}` } }
    }
  }

async function push(ask: Ask, body: EventTypeBody): Promise<Told> {
  const name = eventTypeName(body.pattern)
  const answer = await ask(encodeURIComponent(name), body)
  if (answer.status !== 200 && answer.status !== 201) return refused(name, answer)
  const { version, schema_id: id } = answer.body as WireEventType
  const place = version === null ? 'without a registry' : `version ${version}, schema id ${id}`
  return { ok: true, line: `${name}: pushed (${place})` }
}

async function check(ask: Ask, body: EventTypeBody): Promise<Told> {
  const name = eventTypeName(body.pattern)
  const answer = await ask(`${encodeURIComponent(name)}?dry_run=true`, body)
  if (answer.status !== 200) return refused(name, answer)
  const { outcome } = answer.body as WireEventTypeDryRun
  return { ok: outcome === 'same', line: `${name}: ${outcomes[outcome]}` }
}

const outcomes: Record<WireEventTypeDryRun['outcome'], string> = {
  same: 'is the same',
  changed: 'differs; a push would change it',
  new: 'is not there; a push would make it',
}

function refused(name: string, { status, body }: Answer): Told {
  const problem = body as Partial<Problem> | null
  const why = problem?.code === undefined ? `HTTP ${status}` : `${problem.code}: ${problem.detail ?? ''}`
  return { ok: false, line: `${name}: refused: ${why}` }
}
