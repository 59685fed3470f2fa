import { compileFilter } from '@headrace/core'
import { type Command, type CommandReply, limits, type WaitCommand } from '@headrace/schemas'

type Refusal = Extract<CommandReply, { kind: 'refused' }>

const refused = (code: string, detail: string): Refusal => ({ kind: 'refused', code, detail })

/**
 * Why a command cannot be taken, whatever the run's state; null: nothing against it. Text that UTF-8 cannot hold would
 * be stored as other text than was sent, and two keys could become one.
 */
export function commandFault(command: Command): Refusal | null {
  switch (command.kind) {
    case 'step':
    case 'publish':
      return keyFault(command.key)
    case 'invoke':
      return keyFault(command.key) ?? inputFault(command.input)
    case 'wait':
      return keyFault(command.key) ?? waitFault(command.wait)
    case 'complete': {
      const bytes = Buffer.byteLength(command.output)
      if (bytes <= limits.stepOutputBytesMax) return null
      const most = limits.stepOutputBytesMax
      return refused('run_output_too_large', `the output of the run has ${bytes} bytes, the most is ${most}`)
    }
    case 'claim':
    case 'steal':
    case 'fail':
    case 'pause':
    case 'release':
    case 'suspend':
    case 'look':
      return null
  }
  return null
}

const keyFault = (key: string): Refusal | null =>
  storable(key)
    ? null
    : refused('invalid_field', 'a step key must not contain NUL or half of a surrogate pair')

function waitFault(wait: WaitCommand['wait']): Refusal | null {
  if (wait.kind === 'event') return filterFault(wait.filter)
  return wait.kind === 'run' ? inputFault(wait.input) : null
}

function inputFault(input: string): Refusal | null {
  const bytes = Buffer.byteLength(input)
  if (bytes <= limits.runInputBytesMax) return null
  const most = limits.runInputBytesMax
  return refused('run_input_too_large', `the input of the run has ${bytes} bytes, the most is ${most}`)
}

/** Said before the wait is stored: nobody could ask it of an event later. */
function filterFault(filter: string | null): Refusal | null {
  if (filter === null) return null
  if (!storable(filter))
    return refused('invalid_filter', 'a filter must not contain NUL or half of a surrogate pair')
  const compiled = compileFilter(filter)
  return compiled.kind === 'ok' ? null : refused('invalid_filter', compiled.reason)
}

const storable = (text: string): boolean => text.isWellFormed() && !text.includes('\u0000')

/** Characters of each field of an error that are kept where the whole is too large: at six bytes each they fit. */
const CHARACTERS_KEPT = 600

/**
 * A failure is never refused, or its run would stay in hand for ever: an error over its limit loses its stack
 * and the ends of its texts.
 */
export function fittingError(error: string): string {
  if (Buffer.byteLength(error) <= limits.errorBytesMax) return error
  const parsed = parsedError(error)
  const kept = (field: string): string | null => {
    const value = parsed[field]
    return typeof value === 'string' ? value.slice(0, CHARACTERS_KEPT) : null
  }
  return JSON.stringify({
    name: kept('name') ?? 'Error',
    message: kept('message') ?? 'the error is too large to be stored',
    code: kept('code'),
    stack: null,
    step_key: kept('step_key'),
  })
}

function parsedError(error: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(error)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
