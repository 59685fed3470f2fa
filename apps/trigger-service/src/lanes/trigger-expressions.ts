import { compileFilter, compileWindowKey, type Filter, type WindowKey } from '@headrace/core'
import type { TriggerRow } from '@headrace/store'

/** What a trigger asks of the events that its pattern matches; null: nothing. */
export interface TriggerExpressions {
  readonly filter: Filter | null
  readonly key: WindowKey | null
  /** Whose share of the workflow's concurrency a run counts against. */
  readonly concurrencyKey: WindowKey | null
}

/**
 * Registration refuses what does not compile. Where it does not compile here, the orchestrator is of a version that knows
 * more: the reason is for people, and the trigger waits for a trigger service that understands it.
 */
export function expressionsOf(
  trigger: Pick<TriggerRow, 'filter' | 'windowKey' | 'concurrency'>,
): { kind: 'ok'; expressions: TriggerExpressions } | { kind: 'invalid'; reason: string } {
  const filter = trigger.filter === null ? null : compileFilter(trigger.filter)
  if (filter?.kind === 'invalid') return { kind: 'invalid', reason: `if: ${filter.reason}` }
  const key = trigger.windowKey === null ? null : compileWindowKey(trigger.windowKey)
  if (key?.kind === 'invalid') return { kind: 'invalid', reason: `key: ${key.reason}` }
  const text = trigger.concurrency?.key ?? null
  const concurrencyKey = text === null ? null : compileWindowKey(text)
  if (concurrencyKey?.kind === 'invalid')
    return { kind: 'invalid', reason: `concurrency.key: ${concurrencyKey.reason}` }
  return { kind: 'ok', expressions: { filter, key, concurrencyKey } }
}
