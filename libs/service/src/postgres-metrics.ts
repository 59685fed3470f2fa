import type { Metrics } from './metrics.ts'

/** Fewer than for other durations, since there is one series of them for each statement. */
const QUERY_SECONDS_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10]

/** What an app shows of its connections to Postgres. */
export interface PostgresMetrics {
  /** A named statement has ended, well or not. */
  readonly onQuery: (query: string, seconds: number) => void
  /** Shows these pools from now on, by their names. */
  watch(pools: Record<string, { readonly waitingCount: number }>): void
}

export function createPostgresMetrics(metrics: Metrics): PostgresMetrics {
  const seconds = metrics.histogram({
    name: 'pg_query_seconds',
    help: 'Time of one named statement, with the wait for a connection.',
    labels: ['query'],
    buckets: QUERY_SECONDS_BUCKETS,
  })
  return {
    onQuery: (query, value) => seconds.observe({ query }, value),
    watch(pools) {
      metrics.gauge({
        name: 'pg_pool_waiting',
        help: 'Statements that wait for a connection of their pool.',
        labels: ['pool'],
        collect: (gauge) => {
          for (const [pool, { waitingCount }] of Object.entries(pools)) gauge.set({ pool }, waitingCount)
        },
      })
    },
  }
}
