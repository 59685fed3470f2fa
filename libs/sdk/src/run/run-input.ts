import type { InputEvent } from '@headrace/schemas'
import { SchemaValidationError } from '../errors/step-error.ts'
import { eventOf } from '../workflow/event.ts'
import { validate } from '../workflow/standard-schema.ts'
import type { AnyWorkflow } from '../workflow/workflow.ts'

/**
 * A run's stored input as its handler gets it: `{ events }` for a triggered workflow, always a list; schemas applied.
 * Throws SchemaValidationError, which no further attempt can mend.
 */
export async function readInput(workflow: AnyWorkflow, text: string): Promise<unknown> {
  const input: unknown = JSON.parse(text)
  if (workflow.definition.triggers.length > 0) return { events: await readEvents(workflow, input) }
  if (workflow.inputSchema === null) return input
  return await validate({ schema: workflow.inputSchema, value: input, subject: 'the input' })
}

async function readEvents(workflow: AnyWorkflow, input: unknown): Promise<unknown[]> {
  if (!isWindow(input))
    throw new SchemaValidationError('the input', [
      { path: '/events', message: 'must be a list of at least one event with a topic and data' },
    ])
  const schema = workflow.event?.schema ?? null
  const events = input.events.map(eventOf)
  if (schema === null) return events
  return await Promise.all(
    events.map(async (event, index) => {
      const data = await validate({
        schema,
        value: event.data,
        subject: `event ${event.id}`,
        at: ['events', index, 'data'],
      })
      return { ...event, data }
    }),
  )
}

function isWindow(input: unknown): input is { events: InputEvent[] } {
  if (typeof input !== 'object' || input === null || !('events' in input)) return false
  const { events } = input
  return Array.isArray(events) && events.length > 0 && events.every(isEvent)
}

const isEvent = (event: unknown): boolean =>
  typeof event === 'object' &&
  event !== null &&
  'topic' in event &&
  typeof event.topic === 'string' &&
  'data' in event
