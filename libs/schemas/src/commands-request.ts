import { limits } from './limits.ts'
import { stepKinds } from './run.ts'
import { parseOrProblem } from './validate.ts'
import { type CommandsRequest, commandsRequestSchema } from './worker-protocol.ts'

/**
 * A request of worker commands. What nearly every request holds (claims, steps, completes as our SDK writes them) is
 * known at a glance, at a tenth of the schema's cost, which was a tenth of what a run costs the orchestrator; whatever is
 * not, the schema judges, and words its refusal. The glance knows less than the schema, and never more: a test compares.
 */
export function parseCommandsRequest(value: unknown): CommandsRequest {
  return isUsualRequest(value) ? value : parseOrProblem(commandsRequestSchema, value)
}

type Fields = Record<string, unknown>

function isUsualRequest(value: unknown): value is CommandsRequest {
  if (!isFields(value) || fieldCount(value) !== 2) return false
  const { worker_id: workerId, commands } = value
  return (
    isName(workerId, workerIdCharactersMax) &&
    Array.isArray(commands) &&
    commands.length >= 1 &&
    commands.length <= limits.commandsPerRequestMax &&
    commands.every(isUsual)
  )
}

/** As the schema has it. */
const workerIdCharactersMax = 100
/** Lower case, version 7: the ids that Headrace makes. */
const runId = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const kinds = new Set<unknown>(stepKinds)

function isUsual(command: unknown): boolean {
  if (!isFields(command)) return false
  if (typeof command['run_id'] !== 'string' || !runId.test(command['run_id'])) return false
  if (!isInt(command['epoch'], 1)) return false
  switch (command['kind']) {
    case 'step':
      return isUsualStep(command)
    case 'complete':
      return typeof command['output'] === 'string' && fieldCount(command) === 4
    case 'claim':
      return typeof command['want_input'] === 'boolean' && fieldCount(command) === 4
    default:
      return false
  }
}

const isUsualStep = (step: Fields): boolean =>
  isName(step['key'], limits.stepKeyCharactersMax) &&
  kinds.has(step['step_kind']) &&
  isInt(step['n'], 0) &&
  isInt(step['seen'], 0) &&
  isText(step['output']) &&
  isText(step['error']) &&
  isInt(step['attempts'], 1) &&
  Number.isFinite(step['started_at']) &&
  Number.isFinite(step['finished_at']) &&
  fieldCount(step) === 12

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isInt = (value: unknown, least: number): boolean =>
  Number.isInteger(value) && Number(value) >= least && Number(value) <= limits.integerMax
const isText = (value: unknown): boolean => value === null || typeof value === 'string'
const isName = (value: unknown, charactersMax: number): boolean =>
  typeof value === 'string' && value.length >= 1 && value.length <= charactersMax

function fieldCount(value: Fields): number {
  let count = 0
  for (const _ in value) count += 1
  return count
}
