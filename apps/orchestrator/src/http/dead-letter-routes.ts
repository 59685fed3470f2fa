import { limitParameter, noQuery, parseQuery } from '@headrace/http'
import {
  deadLetterStatuses,
  decideDeadLetterSchema,
  nameSchema,
  parseOrProblem,
  ProblemError,
  type WireDeadLetter,
  type WireDeadLetterWhole,
  type WireList,
} from '@headrace/schemas'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import {
  type DeadLetterCursor,
  decodeDeadLetterCursor,
  encodeDeadLetterCursor,
  queryMark,
} from '../dead-letters/dead-letter-cursor.ts'
import {
  type DeadLetterName,
  KAFKA_MS_MAX,
  kafkaLate,
  noDeadLetter,
} from '../dead-letters/dead-letter-desk.ts'
import { listDeadLetters, SCAN_MS_MAX } from '../dead-letters/list-dead-letters.ts'
import { wireDeadLetter, wireDeadLetterWhole } from '../dead-letters/wire-dead-letter.ts'
import { answerWithin } from './answer-within.ts'

type ById = { Params: { id: string } }

/** Each reads the log for as long as two seconds. */
const LISTINGS_MAX = 8

const parameters = z.strictObject({
  reason: z.string().min(1).max(200).optional(),
  trigger: nameSchema.optional(),
  status: z.enum(deadLetterStatuses).optional(),
  limit: limitParameter,
  cursor: z.string().optional(),
})

/** `GET /v1/dead-letters[/{id}]`, `POST /v1/dead-letters/{id}/redrive|discard`. */
export function deadLetterRoutes(app: FastifyInstance, context: ApiContext): void {
  let listings = 0

  app.route({
    method: 'GET',
    url: '/v1/dead-letters',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireDeadLetter> & { scanned: number }> => {
      const query = parseQuery(parameters, request.query)
      if (listings >= LISTINGS_MAX)
        throw new ProblemError(
          'overloaded',
          `${LISTINGS_MAX} lists of dead letters are being read; ask again later`,
        )
      listings += 1
      try {
        return await list(context, query)
      } finally {
        listings -= 1
      }
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/dead-letters/:id',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireDeadLetterWhole> => {
      parseQuery(noQuery, request.query)
      return wireDeadLetterWhole(await context.deadLetters.find(nameOf(request.params.id)))
    },
  })

  for (const action of ['redrive', 'discard'] as const) {
    app.route<ById>({
      method: 'POST',
      url: `/v1/dead-letters/:id/${action}`,
      config: { scope: 'operate' },
      handler: async (request): Promise<WireDeadLetter> => {
        parseQuery(noQuery, request.query)
        const { reason = null, by = null } = parseOrProblem(decideDeadLetterSchema, request.body ?? {})
        return wireDeadLetter(await context.deadLetters[action](nameOf(request.params.id), { reason, by }))
      },
    })
  }
}

async function list(
  { broker, store, prefix, clock }: ApiContext,
  { limit, cursor, ...wanted }: z.output<typeof parameters>,
): Promise<WireList<WireDeadLetter> & { scanned: number }> {
  const mark = queryMark(wanted)
  const position = cursor === undefined ? null : positionOf(cursor, mark)
  const { reason = null, trigger = null, status = null } = wanted
  const reading = new AbortController()
  try {
    const page = await answerWithin(
      clock,
      SCAN_MS_MAX + KAFKA_MS_MAX,
      async () =>
        await listDeadLetters({
          broker,
          store,
          prefix,
          limit,
          filter: { reason, trigger, status },
          below: position?.below ?? null,
          monotonic: () => performance.now(),
          signal: reading.signal,
        }),
      kafkaLate,
    )
    const { below } = page
    return {
      data: page.letters.map(wireDeadLetter),
      next_cursor: below.size === 0 ? null : encodeDeadLetterCursor({ query: mark, below }),
      scanned: page.scanned,
    }
  } finally {
    reading.abort()
  }
}

function positionOf(text: string, mark: string): DeadLetterCursor {
  const position = decodeDeadLetterCursor(text)
  if (position?.query === mark) return position
  const detail =
    position === null
      ? 'is not a cursor of this list; take next_cursor of its last page'
      : 'belongs to another query; keep the other parameters as they were'
  throw new ProblemError('invalid_cursor', `?cursor: ${detail}`, {
    errors: [{ pointer: '?cursor', code: 'invalid_cursor', detail }],
  })
}

const id = /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,14})$/

function nameOf(text: string): DeadLetterName {
  const [, partition, offset] = id.exec(text) ?? []
  if (partition === undefined || offset === undefined) throw noDeadLetter(text)
  return { partition: Number(partition), offset: Number(offset) }
}
