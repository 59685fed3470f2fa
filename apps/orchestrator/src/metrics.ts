import type { Metrics } from '@headrace/service'

/** From an answer that was there already to a wait of a month. */
const WAIT_SECONDS_BUCKETS = [0.01, 0.1, 1, 10, 60, 600, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400]

/** What the orchestrator counts (docs: observability). Labels are bounded: workflows, queues, kinds; never a run. */
export function orchestratorMetrics(metrics: Metrics) {
  const run = ['workflow', 'queue'] as const
  return {
    runsStarted: metrics.counter({
      name: 'runs_started_total',
      help: 'Runs claimed at their first epoch; a claim that is repeated counts again.',
      labels: run,
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
      labels: run,
    }),
    eventToStartSeconds: metrics.histogram({
      name: 'event_to_start_seconds',
      help: 'Time from the last event of a window, in its stream’s log, to the first claim of its run.',
      labels: run,
    }),
    ...waitMetrics(metrics),
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
      help: 'Runs that a sweep found: their worker died (worker_lost) or forgot them (forgotten), or there is a build on which they were not tried (unfit).',
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

function waitMetrics(metrics: Metrics) {
  return {
    waits: metrics.counter({
      name: 'waits_total',
      help: 'Wait commands by what became of them; one that is sent again counts again.',
      labels: ['kind', 'outcome'],
    }),
    lookbackTruncated: metrics.counter({
      name: 'waits_lookback_truncated_total',
      help: 'Waits registered that look back less far than they asked for, for responses are kept no longer.',
    }),
    answers: metrics.counter({
      name: 'answers_total',
      help: 'Waits that were answered or timed out; unverified: without the proof that no answer was on its way.',
      labels: ['kind', 'outcome'],
    }),
    waitTimeouts: metrics.counter({
      name: 'wait_timeouts_total',
      help: 'Waits that timed out.',
      labels: ['kind'],
    }),
    waitSeconds: metrics.histogram({
      name: 'wait_seconds',
      help: 'Time from the registration of a wait to its answer or time-out.',
      labels: ['kind'],
      buckets: WAIT_SECONDS_BUCKETS,
    }),
    answerSeconds: metrics.histogram({
      name: 'answer_seconds',
      help: 'Time from an event in its stream’s log to the answer of a wait, also of one that was registered later.',
    }),
    filterErrors: metrics.counter({
      name: 'filter_errors_total',
      help: 'Events on which a wait’s filter could not be evaluated; they do not answer it.',
    }),
    resumeSeconds: metrics.histogram({
      name: 'wait_resume_seconds',
      help: 'Time from an answer that queued a parked run to its next claim, where one instance saw both.',
      labels: ['workflow'],
    }),
    sweptWaits: metrics.counter({
      name: 'swept_waits_total',
      help: 'Waits that a sweep found: an instance died over them (unchecked, child), or their run ended (ended).',
      labels: ['kind'],
    }),
    publishes: metrics.counter({
      name: 'publishes_total',
      help: 'Publish commands by what became of them; failed ones are sent again.',
      labels: ['outcome'],
    }),
    producersRecreated: metrics.counter({
      name: 'kafka_producer_recreated_total',
      help: 'Producers thrown away because the fate of a send was unknown.',
    }),
    publishSeconds: metrics.histogram({
      name: 'publish_seconds',
      help: 'Time of one event of a run from the look for its stream to Kafka’s answer.',
    }),
  }
}

export type OrchestratorMetrics = ReturnType<typeof orchestratorMetrics>
