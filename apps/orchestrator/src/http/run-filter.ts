import { cursorParameter, limitParameter, timeParameter } from '@headrace/http'
import { limits, nameSchema, ProblemError, type RunStatus, runStatuses } from '@headrace/schemas'
import type { RunListFilter } from '@headrace/store'
import { z } from 'zod'
import { topicParameter } from './topic-parameter.ts'

const storable = (text: string): boolean => text.isWellFormed() && !text.includes('\u0000')
const offset = z
  .string()
  .regex(/^\d{1,15}$/, 'must be a whole number')
  .transform(Number)

const statuses = z.string().transform((text, context): RunStatus[] => {
  const named = text.split(',').map((part) => runStatuses.find((status) => status === part))
  if (named.every((status) => status !== undefined)) return named
  const message = `must be one or more of ${runStatuses.join(', ')}, separated by commas`
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

/** The query of `GET /v1/runs`. */
export const runListParameters = z.strictObject({
  workflow: nameSchema.optional(),
  status: statuses.optional(),
  trigger: nameSchema.optional(),
  stream: nameSchema.optional(),
  partition: offset.optional(),
  sequence_id: offset.optional(),
  tag: z
    .string()
    .refine((text) => text.indexOf(':') > 0 && storable(text), { error: 'must be key:value' })
    .optional(),
  topic: topicParameter.optional(),
  event_id: z
    .string()
    .refine((text) => text.length > 0 && text.length <= limits.idCharactersMax && storable(text), {
      error: `must be an event's id of at most ${limits.idCharactersMax} characters`,
    })
    .optional(),
  created_after: timeParameter.optional(),
  created_before: timeParameter.optional(),
  limit: limitParameter,
  cursor: cursorParameter(z.strictObject({ id: z.uuid() })),
})

/** Throws `invalid_query` where an event is named by half. */
export function runFilterOf(parameters: z.output<typeof runListParameters>): RunListFilter {
  const { workflow, status, trigger, tag, topic, event_id: eventId } = parameters
  const { created_after: createdAfter, created_before: createdBefore } = parameters
  const event = eventOf(parameters)
  const colon = tag?.indexOf(':') ?? 0
  return {
    ...(workflow === undefined ? {} : { workflow }),
    ...(status === undefined ? {} : { status }),
    ...(trigger === undefined ? {} : { trigger }),
    ...(event === null ? {} : { event }),
    ...(tag === undefined ? {} : { tag: { key: tag.slice(0, colon), value: tag.slice(colon + 1) } }),
    ...(createdAfter === undefined ? {} : { createdAfter }),
    ...(createdBefore === undefined ? {} : { createdBefore }),
    ...(topic === undefined && eventId === undefined
      ? {}
      : {
          handed: {
            ...(topic === undefined ? {} : { topic }),
            ...(eventId === undefined ? {} : { eventId }),
          },
        }),
  }
}

function eventOf({
  stream,
  partition,
  sequence_id: sequenceId,
}: z.output<typeof runListParameters>): NonNullable<RunListFilter['event']> | null {
  if (stream !== undefined && partition !== undefined && sequenceId !== undefined) {
    return { stream, partition, sequenceId }
  }
  if (stream === undefined && partition === undefined && sequenceId === undefined) return null
  const detail =
    'names an event together with the others of stream, partition and sequence_id: give all three'
  const given = stream === undefined ? (partition === undefined ? 'sequence_id' : 'partition') : 'stream'
  throw new ProblemError('invalid_query', `?${given}: ${detail}`, {
    errors: [{ pointer: `?${given}`, code: 'invalid_query', detail }],
  })
}
