import type { Metrics } from '@headrace/service'

/** What the orchestrator counts (docs: observability). Labels are bounded: workflows, queues, kinds; never a run. */
export function orchestratorMetrics(metrics: Metrics) {
  const run = ['workflow', 'queue'] as const
  return {
    runsStarted: metrics.counter({
      name: 'runs_started_total',
      help: 'Runs claimed at their first epoch; a claim that is repeated counts again.',
      labels: ['workflow'],
    }),
    runsFinished: metrics.counter({
      name: 'runs_finished_total',
      help: 'Runs that ended.',
      labels: [...run, 'status'],
    }),
    runSeconds: metrics.histogram({
      name: 'run_seconds',
      help: 'Time from a run’s creation to its end.',
      labels: run,
    }),
    queueWaitSeconds: metrics.histogram({
      name: 'queue_wait_seconds',
      help: 'Time from a run’s creation to its first claim.',
      labels: ['workflow'],
    }),
    steps: metrics.counter({
      name: 'steps_total',
      help: 'Step commands by what became of them.',
      labels: ['outcome'],
    }),
    stepsRerun: metrics.counter({
      name: 'steps_rerun_total',
      help: 'Bodies that ran although their step was stored: the stored result won.',
    }),
    commandsBatch: metrics.histogram({
      name: 'commands_batch_size',
      help: 'Commands of one statement.',
      labels: ['kind'],
      buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000],
    }),
    commandsSeconds: metrics.histogram({
      name: 'commands_seconds',
      help: 'Time of one statement of commands.',
      labels: ['kind'],
    }),
    sweepsRecovered: metrics.counter({
      name: 'sweeps_recovered_total',
      help: 'Runs that a sweep found: their worker died (worker_lost) or forgot them (forgotten).',
      labels: ['kind'],
    }),
    leaseExpired: metrics.counter({
      name: 'lease_expired_total',
      help: 'Workers declared dead.',
    }),
    deadLetters: metrics.counter({
      name: 'dead_letters_total',
      help: 'Dead letters written, by reason.',
      labels: ['reason'],
    }),
  }
}

export type OrchestratorMetrics = ReturnType<typeof orchestratorMetrics>
