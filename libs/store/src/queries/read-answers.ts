import type { StoredStep } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { isolate, withRetries } from '../fault.ts'
import { run, statement } from '../statement.ts'
import { isAnswer, stepColumns, type StepRow, toStoredStep } from './read-stored-steps.ts'

/**
 * What came for runs in their worker's hands. One snapshot: an answer's step and the wake it made are one commit, so
 * the steps seen are all those up to the wake seen beside them.
 */
export const answersStatement = statement(
  'answers_of_runs',
  `select u.at::int, r.wake, s.*
   from unnest($1::uuid[], $2::int[], $3::text[], $4::int[]) with ordinality u(id, epoch, worker_id, seen, at)
   cross join lateral (
     select r.wake from runs r
     where r.id = u.id and r.epoch = u.epoch and r.worker_id = u.worker_id and r.status || '' = 'running' offset 0) r
   left join lateral (
     select ${stepColumns} from steps s
     where s.run_id = u.id and s.seen > u.seen and ${isAnswer} and r.wake > u.seen offset 0) s on true
   order by u.at, s.seen, s.key`,
)

/** A run in a worker's hands, and the wake that the worker has observed. */
export interface AnswersRequest {
  runId: string
  epoch: number
  workerId: string
  seen: number
}

export interface Answers {
  wake: number
  /** Every answer beyond `seen`, up to `wake`, in the order of their wakes. */
  steps: StoredStep[]
}

type AnswerRow = { at: number; wake: number } & { [Column in keyof StepRow]: StepRow[Column] | null }

/** The answers that came for each run since `seen`, at its index; null: the run is not that worker's at that epoch. */
export async function readAnswers(store: Store, items: AnswersRequest[]): Promise<(Answers | null)[]> {
  if (items.length === 0) return []
  const found = new Map<AnswersRequest, Answers>()
  await isolate(items, async (part) => {
    const rows = await withRetries(
      async () =>
        await run<AnswerRow>(store.hot, answersStatement, [
          part.map((item) => item.runId),
          part.map((item) => item.epoch),
          part.map((item) => item.workerId),
          part.map((item) => item.seen),
        ]),
    )
    for (const { at, wake, ...step } of rows) {
      const item = part[at - 1]
      if (!item) continue
      const answers = found.get(item) ?? { wake, steps: [] }
      found.set(item, answers)
      if (isStep(step)) answers.steps.push(toStoredStep(step))
    }
  })
  return items.map((item) => found.get(item) ?? null)
}

const isStep = (row: Omit<AnswerRow, 'at' | 'wake'>): row is StepRow => row.run_id !== null
