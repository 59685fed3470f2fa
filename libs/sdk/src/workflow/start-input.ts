import { inputEventOf, type StartEvent } from './event.ts'
import { validate } from './standard-schema.ts'
import type { AnyWorkflow } from './workflow.ts'

/**
 * What a workflow is started with directly, as it travels. Of a workflow given by its id nothing is known, so it is taken as
 * it is. Throws SchemaValidationError when the input does not pass, TypeError where there are no events for a trigger.
 */
export async function startInputOf(
  workflow: AnyWorkflow | string,
  input: unknown,
  made: { id: () => string; now: number },
): Promise<unknown> {
  if (typeof workflow === 'string') return input ?? null
  if (workflow.definition.triggers.length > 0) {
    const { events } = (input ?? {}) as { events?: readonly StartEvent[] }
    if (!Array.isArray(events))
      throw new TypeError(`the input of "${workflow.id}" is { events: [{ topic, data }] }: it has a trigger`)
    return { events: events.map((event) => inputEventOf(event, { id: made.id(), now: made.now })) }
  }
  if (workflow.inputSchema !== null)
    await validate({ schema: workflow.inputSchema, value: input, subject: `the input of "${workflow.id}"` })
  return input ?? null
}
