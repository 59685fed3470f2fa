import type { TriggerStatus } from '@headrace/schemas'
import { z } from 'zod'
import type { AskOrchestrator } from './ask-orchestrator.ts'

const pageShape = z.object({
  data: z.array(
    z.object({
      id: z.string(),
      workflow: z.string(),
      pattern: z.string(),
      if: z.string().nullable(),
      status: z.string().transform((status) => status as TriggerStatus),
    }),
  ),
  next_cursor: z.string().nullable(),
})

export type KnownTrigger = z.output<typeof pageShape>['data'][number]

/** All triggers that are not retired, or null where the orchestrator, which knows them, cannot be asked. */
export async function readTriggers(
  ask: AskOrchestrator,
  authorization: string | undefined,
): Promise<KnownTrigger[] | null> {
  const triggers: KnownTrigger[] = []
  let path: string | null = '/v1/triggers?limit=200'
  while (path !== null) {
    const page: z.output<typeof pageShape> | null = await ask.get(path, pageShape, { authorization })
    if (page === null) return null
    triggers.push(...page.data)
    const cursor: string | null = page.next_cursor
    path = cursor === null ? null : `/v1/triggers?limit=200&cursor=${encodeURIComponent(cursor)}`
  }
  return triggers
}
