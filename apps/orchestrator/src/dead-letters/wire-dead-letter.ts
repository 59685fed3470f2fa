import type { DeadLetterRecord } from '@headrace/core'
import type { WireDeadLetter, WireDeadLetterWhole } from '@headrace/schemas'
import type { DeadLetterDecision } from '@headrace/store'
import { wireTime } from '../http/wire-run.ts'
import { idOf } from './dead-letter-desk.ts'
import type { DeadLetterOutline, DecidedLetter } from './list-dead-letters.ts'
import { redrivenEventId } from './redriven-record.ts'

export const wireDeadLetter = ({ letter, decision }: DecidedLetter): WireDeadLetter => ({
  id: idOf(letter),
  reason: letter.reason,
  detail: letter.detail,
  source:
    letter.source === null
      ? null
      : {
          stream: letter.source.stream,
          kafka_topic: letter.source.kafkaTopic,
          partition: letter.source.partition,
          offset: letter.source.offset,
        },
  trigger: letter.triggerId,
  run_id: letter.runId,
  created_at: wireTime(letter.timestamp),
  status: decision.status,
  decision: wireDecision(letter, decision),
})

function wireDecision(
  letter: DeadLetterOutline,
  { status, runId, reason, decidedAt, decidedBy }: DeadLetterDecision,
): WireDeadLetter['decision'] {
  if (decidedAt === null) return null
  const published = status === 'redriven' && runId === null
  return {
    at: wireTime(decidedAt),
    reason,
    by: decidedBy,
    run_id: runId,
    event_id: published ? redrivenEventId(letter) : null,
  }
}

export function wireDeadLetterWhole({
  letter,
  decision,
}: DecidedLetter<DeadLetterRecord>): WireDeadLetterWhole {
  const { value, truncated, headers } = letter
  const text = value === null ? null : textOf(value)
  return {
    ...wireDeadLetter({ letter, decision }),
    value: text,
    value_base64: value === null || text !== null ? null : value.toString('base64'),
    truncated,
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, bytes]) => [name, bytes.toString('utf8')]),
    ),
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(bytes: Buffer): string | null {
  try {
    return utf8.decode(bytes)
  } catch {
    return null
  }
}
