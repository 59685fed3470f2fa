import { ProblemError } from '@headrace/schemas'
import type { Clock } from '@headrace/service'

/**
 * Below the 4 s (two heartbeats) after which a worker takes a heartbeat for unanswered, and together with the 2 s to the
 * next one below the 6 s after which it leaves its group: where Postgres neither answers nor refuses (a cut network), the
 * worker is told so in time and keeps its runs. A statement in flight goes on; what it does is found done when the worker
 * sends its request again.
 */
export const WORKER_ANSWER_MS = 3_000
/** Publishes go in requests of their own, which no lease hangs on: Postgres's time and then Kafka's, and some air. */
export const PUBLISH_ANSWER_MS = 10_000

/** Nobody reads it. Without one, each request would make an error with a stack. */
const ANSWERED = Symbol('answered')

const postgresLate = (ms: number): ProblemError =>
  new ProblemError(
    'postgres_unavailable',
    `Postgres has not answered within ${ms / 1_000} s; send the request again`,
  )

/**
 * The work's answer, or a problem when there is none in time: `postgres_unavailable` unless said otherwise. The work is
 * told by its signal: what of it has not begun by then need not, because the request comes again.
 */
export async function answerWithin<Result>(
  clock: Clock,
  ms: number,
  work: (late: AbortSignal) => Promise<Result>,
  problemOf: (ms: number) => ProblemError = postgresLate,
): Promise<Result> {
  const answered = new AbortController()
  const late = new AbortController()
  const working = work(late.signal)
  const tooLate = clock.sleep(ms, answered.signal).then(
    () => {
      const problem = problemOf(ms)
      late.abort(problem)
      throw problem
    },
    // Answered: `working` has won already.
    async () => await working,
  )
  try {
    return await Promise.race([working, tooLate])
  } finally {
    answered.abort(ANSWERED)
  }
}
