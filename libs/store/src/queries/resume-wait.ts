import { endedRunStatuses } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'
import { type Answered, answerWaits } from './answer-waits.ts'
import { refColumns, type WaitRef } from './wait-ref.ts'

const waitToResumeStatement = statement(
  'wait_to_resume',
  `select w.kind, w.status, r.status as run_status, s.output
   from unnest($1::uuid[], $2::text[]) u(run_id, key)
   cross join lateral (select r.status from runs r where r.id = u.run_id offset 0) r
   left join lateral (
     select w.kind, w.status from waits w where w.run_id = u.run_id and w.key = u.key offset 0) w on true
   left join lateral (
     select s.output from steps s where s.run_id = u.run_id and s.key = u.key offset 0) s on true`,
)

export type Resumed =
  | { status: 'resumed'; answered: Answered }
  /** It was resumed with the same data before: a resend. */
  | { status: 'as_before' }
  | { status: 'run_not_found' }
  /** `kind`: what stands under the key instead of a wait to be resumed; null: nothing. */
  | { status: 'wait_not_found'; kind: string | null }
  /** It was resumed with other data before, or is over. */
  | { status: 'settled'; as: 'answered' | 'timed_out' | 'cancelled' }

const endedStatuses = new Set<string>(endedRunStatuses)

/** A wait that was registered between the answer and the look is answered by the next round. */
const roundsMax = 3

/** Answers a wait that stays until somebody resumes it; the first data counts. `data`: JSON text. */
export async function resumeWait(
  store: Store,
  { data, ...ref }: WaitRef & { data: string },
): Promise<Resumed> {
  for (let round = 0; round < roundsMax; round += 1) {
    const answered = await answerWaits(store, [{ ...ref, outcome: { kind: 'resume', data } }])
    if (answered.answers.length > 0) return { status: 'resumed', answered }
    const [row] = await run<{
      kind: string | null
      status: 'pending' | 'open' | 'answered' | 'timed_out' | 'cancelled' | null
      run_status: string
      output: string | null
    }>(store.general, waitToResumeStatement, refColumns([ref]))
    if (!row) return { status: 'run_not_found' }
    if (row.kind !== 'resume') return { status: 'wait_not_found', kind: row.kind }
    if (row.status === 'answered' && row.output === data) return { status: 'as_before' }
    if (row.status !== 'open' && row.status !== 'pending' && row.status !== null)
      return { status: 'settled', as: row.status }
    if (endedStatuses.has(row.run_status)) return { status: 'settled', as: 'cancelled' }
  }
  throw new Error(`the wait ${ref.key} of run ${ref.runId} is open, and cannot be answered`)
}
