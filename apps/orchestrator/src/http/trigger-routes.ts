import { noQuery, parseQuery } from '@headrace/http'
import {
  parseOrProblem,
  ProblemError,
  type WireCursor,
  type WireList,
  type WireTrigger,
} from '@headrace/schemas'
import {
  type CursorRow,
  cursorsOfTriggers,
  getTrigger,
  listTriggers,
  setTriggerStatus,
  type TriggerRow,
} from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { nameOrProblem } from './name-or-problem.ts'
import { pageOf, pageParameters } from './page.ts'
import { wireTime } from './wire-run.ts'

type ById = { Params: { id: string } }

/** `GET /v1/triggers[/{id}]`, `POST /v1/triggers/{id}/pause|resume`. */
export function triggerRoutes(app: FastifyInstance, context: ApiContext): void {
  const { store } = context
  const noBody = z.strictObject({}).nullish()

  async function existingTrigger(id: string): Promise<WireTrigger> {
    const trigger = await getTrigger(store, nameOrProblem('trigger_not_found', 'trigger', id))
    if (trigger === null) throw new ProblemError('trigger_not_found', `There is no trigger ${id}`)
    const [wire] = await wireTriggers(context, [trigger])
    if (wire === undefined) throw new Error(`trigger ${id} was not mapped`)
    return wire
  }

  app.route({
    method: 'GET',
    url: '/v1/triggers',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireTrigger>> => {
      const parameters = parseQuery(z.strictObject(pageParameters), request.query)
      const { items, nextCursor } = pageOf(await listTriggers(store), ({ id }) => id, parameters)
      return { data: await wireTriggers(context, items), next_cursor: nextCursor }
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/triggers/:id',
    config: { scope: 'runs:read' },
    handler: async (request) => {
      parseQuery(noQuery, request.query)
      return await existingTrigger(request.params.id)
    },
  })

  for (const [action, status] of [
    ['pause', 'paused'],
    ['resume', 'live'],
  ] as const) {
    app.route<ById>({
      method: 'POST',
      url: `/v1/triggers/:id/${action}`,
      config: { scope: 'operate' },
      handler: async (request) => {
        parseQuery(noQuery, request.query)
        parseOrProblem(noBody, request.body)
        const id = nameOrProblem('trigger_not_found', 'trigger', request.params.id)
        if (!(await setTriggerStatus(store, id, status))) {
          throw new ProblemError('trigger_not_found', `There is no trigger ${id} that could be ${status}`)
        }
        context.log.info({ event: `trigger.${status}`, trigger: id }, `the trigger is ${status}`)
        return await existingTrigger(id)
      },
    })
  }
}

async function wireTriggers(
  { store, endOffsets, margins }: ApiContext,
  triggers: readonly TriggerRow[],
): Promise<WireTrigger[]> {
  const cursors = await cursorsOfTriggers(
    store,
    triggers.map(({ id }) => id),
  )
  const streams = [...new Set(cursors.map(({ stream }) => stream))]
  const ends = new Map(
    await Promise.all(streams.map(async (stream) => [stream, await endOffsets.of(stream)] as const)),
  )
  const endOf = ({ stream, partition }: CursorRow) => ends.get(stream)?.get(partition) ?? null
  const behind = cursors.filter((cursor) => cursor.nextOffset < (endOf(cursor) ?? 0))
  const margin = await margins.of(behind.map((cursor) => ({ ...cursor, nextTs: cursor.open?.since ?? null })))
  const marginOf = new Map(behind.map((cursor, index) => [cursor, margin[index] ?? null]))
  return triggers.map((trigger) => {
    const own = cursors.filter(({ triggerId }) => triggerId === trigger.id)
    const wired = own.map((cursor) => wireCursor(cursor, endOf(cursor), marginOf.get(cursor) ?? null))
    return wireTrigger(trigger, own, wired)
  })
}

/** A trigger with a stopped cursor says so itself: what stopped it is the first thing to know of it. */
function wireTrigger(trigger: TriggerRow, cursors: readonly CursorRow[], wired: WireCursor[]): WireTrigger {
  return {
    id: trigger.id,
    workflow: trigger.workflow,
    app: trigger.app,
    build: trigger.build,
    pattern: trigger.pattern,
    window: {
      size: trigger.windowSize,
      timeout_seconds: trigger.windowTimeoutMs === null ? null : trigger.windowTimeoutMs / 1_000,
      max_bytes: trigger.windowMaxBytes,
      key: trigger.windowKey,
    },
    if: trigger.filter,
    on_gap: trigger.gapPolicy,
    ...statusOf(trigger, cursors),
    cursors: wired,
  }
}

function statusOf(
  { status, reason, backpressured }: TriggerRow,
  cursors: readonly CursorRow[],
): Pick<WireTrigger, 'status' | 'reason'> {
  const stopped = cursors.find((cursor) => cursor.status === 'stopped')
  if (status === 'live' && stopped !== undefined) return { status: 'stopped', reason: stopped.reason }
  if (status === 'live' && backpressured) return { status: 'backpressured', reason: 'queued_runs' }
  return { status, reason }
}

const wireCursor = (
  { stream, partition, nextOffset, status, reason, lost, open }: CursorRow,
  end: number | null,
  marginMs: number | null,
): WireCursor => ({
  stream,
  partition,
  next_offset: nextOffset,
  end_offset: end,
  // An open window keeps the cursor at its first event: these count as lag until it closes.
  lag: end === null ? null : Math.max(0, end - nextOffset),
  status,
  reason,
  lost,
  open_window: open === null ? null : { events: open.events, since: wireTime(open.since) },
  retention_margin_seconds: marginMs === null ? null : Math.floor(marginMs / 1_000),
})
