import { answerKinds, type StepKind, type StoredStep } from '@headrace/schemas'
import { statement } from '../statement.ts'

export interface StepRow {
  run_id: string
  key: string
  kind: StepKind
  n: number
  seen: number
  epoch: number
  output: string | null
  error: string | null
  attempts: number
}

// `offset 0` keeps the planner from turning a look-up into a join, and that into a walk over all partitions.
export const stepColumns = 's.run_id, s.key, s.kind, s.n, s.seen, s.epoch, s.output, s.error, s.attempts'
export const isAnswer = `s.kind in (${answerKinds.map((kind) => `'${kind}'`).join(', ')})`

/** All stored steps of some runs, in the order they happened: an answer came before what was done knowing of it. */
export const stepsOfRunsStatement = statement(
  'steps_of_runs',
  `select s.* from unnest($1::uuid[]) u(id)
   cross join lateral (select ${stepColumns} from steps s where s.run_id = u.id offset 0) s
   order by s.run_id, s.seen, ${isAnswer} desc, s.n, s.key`,
)

/** The rows that stand where other steps were to be inserted. A later statement than the insert, on purpose. */
export const stepsByKeyStatement = statement(
  'steps_by_key',
  `select s.* from unnest($1::uuid[], $2::text[]) u(run_id, key)
   cross join lateral (select ${stepColumns} from steps s where s.run_id = u.run_id and s.key = u.key offset 0) s`,
)

export function toStoredStep(row: StepRow): StoredStep {
  return {
    key: row.key,
    step_kind: row.kind,
    n: row.n,
    seen: row.seen,
    epoch: row.epoch,
    output: row.output,
    error: row.error,
    attempts: row.attempts,
  }
}
