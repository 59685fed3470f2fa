import { ProblemError } from '@headrace/schemas'
import type { Clock } from '@headrace/service'

/**
 * Below the 6 s after which a worker that hears nothing leaves its group: where Postgres neither answers nor refuses
 * (a cut network), the worker is told so in time and keeps its runs. The statement goes on; what it does is found done
 * when the worker sends its request again.
 */
export const WORKER_ANSWER_MS = 4_000

/** The work's answer, or `postgres_unavailable` when there is none in time. */
export async function answerWithin<Result>(clock: Clock, ms: number, work: Promise<Result>): Promise<Result> {
  const answered = new AbortController()
  const late = clock.sleep(ms, answered.signal).then(
    () => {
      throw new ProblemError(
        'postgres_unavailable',
        `Postgres has not answered within ${ms / 1_000} s; send the request again`,
      )
    },
    // Answered: `work` has won already.
    async () => await work,
  )
  try {
    return await Promise.race([work, late])
  } finally {
    answered.abort()
  }
}
