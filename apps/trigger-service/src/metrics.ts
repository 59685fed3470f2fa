import type { ClosedWindow, CloseReason } from '@headrace/core'
import type { Metrics } from '@headrace/service'
import type { TriggerRow } from '@headrace/store'
import type { LaneEvent } from './lanes/lane-record.ts'
import type { Lane } from './lanes/lane.ts'
import { isProjection } from './triggers/lane-trigger.ts'

const triggerStatuses = ['live', 'paused', 'backpressured', 'retired'] as const

/** What the trigger service counts. Labels are bounded: triggers, streams, reasons; never a topic, a key or a run. */
export function createTriggerMetrics(metrics: Metrics) {
  const windows = metrics.counter({
    name: 'trigger_windows_total',
    help: 'Windows that became runs, by what closed them.',
    labels: ['trigger', 'closed_by'],
  })
  const events = metrics.counter({
    name: 'trigger_events_total',
    help: 'Events a trigger matched, by what became of them.',
    labels: ['trigger', 'outcome'],
  })
  // The label look-up of a counter costs more than the count, and this is done for every window.
  const children = new Map<string, { windows: { inc(): void }; events: { inc(count: number): void } }>()
  const childrenOf = (trigger: string, closedBy: CloseReason) => {
    const key = `${closedBy}/${trigger}`
    const known = children.get(key)
    if (known !== undefined) return known
    const made = {
      windows: windows.labels({ trigger, closed_by: closedBy }),
      events: events.labels({ trigger, outcome: 'run' }),
    }
    children.set(key, made)
    return made
  }
  return {
    events,
    /** A window was stored together with its cursor. */
    windowStored(trigger: string, closed: ClosedWindow<LaneEvent>): void {
      const counters = childrenOf(trigger, closed.closedBy)
      counters.windows.inc()
      counters.events.inc(closed.events.length)
    },
    cursorFences: metrics.counter({
      name: 'cursor_fences_total',
      help: 'Cursors that somebody else had moved or changed; their windows are rebuilt.',
      labels: ['stream'],
    }),
    topicAnomalies: metrics.counter({
      name: 'topic_anomalies_total',
      help: 'Cursors that do not fit their log: expired events, a recreated or truncated topic.',
      labels: ['stream', 'kind'],
    }),
    deadLetters: metrics.counter({
      name: 'dead_letters_total',
      help: 'Dead letters written.',
      labels: ['reason'],
    }),
    projectedEvents: metrics.counter({
      name: 'projected_events_total',
      help: 'Events of waited streams copied to the response topic; one that is copied again counts again.',
      labels: ['stream'],
    }),
    rebalances: metrics.counter({
      name: 'kafka_rebalances_total',
      help: 'Times the consumer group was joined.',
    }),
    producersRecreated: metrics.counter({
      name: 'kafka_producer_recreated_total',
      help: 'Producers thrown away because the fate of a send was unknown.',
    }),
  }
}
export type TriggerMetrics = ReturnType<typeof createTriggerMetrics>

/** Gauges that are read off the lanes at each scrape; of a trigger with several partitions here, the worst. */
export function registerLaneGauges(
  metrics: Metrics,
  view: {
    lanes: () => readonly Lane[]
    triggers: () => readonly TriggerRow[]
    readers: () => number
    now: () => number
  },
): void {
  const labels = ['trigger', 'stream'] as const
  const triggers = { isProjection: false, nowMs: view.now }
  metrics.gauge({
    name: 'trigger_lag_events',
    help: 'Offsets between the cursor and the end of the log, of the worst partition here; an open window counts.',
    labels,
    collect: (gauge) => {
      gauge.reset()
      for (const [name, { events }] of worstLags(view.lanes(), triggers)) gauge.set(name, events)
    },
  })
  metrics.gauge({
    name: 'trigger_lag_seconds',
    help: 'Age of the last record scanned while there are more, of the worst partition here.',
    labels,
    collect: (gauge) => {
      gauge.reset()
      for (const [name, { seconds }] of worstLags(view.lanes(), triggers)) gauge.set(name, seconds)
    },
  })
  metrics.gauge({
    name: 'trigger_open_windows',
    help: 'Windows that hold events and are not closed.',
    labels: ['trigger'],
    collect: (gauge) => {
      gauge.reset()
      for (const lane of view.lanes())
        for (const { trigger, openWindows } of [...lane.followers, ...lane.chasers])
          if (!isProjection(trigger)) gauge.inc({ trigger: trigger.id }, openWindows)
    },
  })
  metrics.gauge({
    name: 'trigger_status',
    help: '1 for the state a trigger is in.',
    labels: ['trigger', 'status'],
    collect: (gauge) => {
      gauge.reset()
      for (const { id, status, backpressured } of view.triggers()) {
        const now = status === 'live' && backpressured ? 'backpressured' : status
        for (const one of triggerStatuses) gauge.set({ trigger: id, status: one }, one === now ? 1 : 0)
      }
    },
  })
  metrics.gauge({
    name: 'trigger_lanes',
    help: 'Partitions assigned to this instance.',
    collect: (gauge) => gauge.set(view.lanes().length),
  })
  metrics.gauge({
    name: 'trigger_catch_up_readers',
    help: 'Triggers on partitions that are behind their lane and catch up.',
    collect: (gauge) => gauge.set(view.readers()),
  })
}

/** Of the projections of waited streams. */
export function registerProjectionGauges(
  metrics: Metrics,
  view: { lanes: () => readonly Lane[]; gapReaders: () => number; now: () => number },
): void {
  const projections = { isProjection: true, nowMs: view.now }
  metrics.gauge({
    name: 'projection_lag_events',
    help: 'Offsets between the projection of a waited stream and the end of its log, of the worst partition here.',
    labels: ['stream'],
    collect: (gauge) => {
      gauge.reset()
      for (const [{ stream }, { events }] of worstLags(view.lanes(), projections))
        gauge.set({ stream }, events)
    },
  })
  metrics.gauge({
    name: 'projection_lag_seconds',
    help: 'Age of the last event projected while there are more, of the worst partition here.',
    labels: ['stream'],
    collect: (gauge) => {
      gauge.reset()
      for (const [{ stream }, { seconds }] of worstLags(view.lanes(), projections))
        gauge.set({ stream }, seconds)
    },
  })
  metrics.gauge({
    name: 'projection_gap_readers',
    help: 'Partitions of which events from before the beginning of their projection are being copied.',
    collect: (gauge) => gauge.set(view.gapReaders()),
  })
}

type LagName = { trigger: string; stream: string }

/** Of triggers, or of projections. */
function worstLags(
  lanes: readonly Lane[],
  of: { isProjection: boolean; nowMs: () => number },
): Map<LagName, { events: number; seconds: number }> {
  const nowMs = of.nowMs()
  const worst = new Map<string, { name: LagName; lag: { events: number; seconds: number } }>()
  for (const lane of lanes) {
    const { highWatermark } = lane
    if (highWatermark === null) continue
    for (const { trigger, stored, scanned, seen } of [...lane.followers, ...lane.chasers]) {
      if (isProjection(trigger) !== of.isProjection) continue
      const events = Math.max(0, highWatermark - stored.nextOffset)
      const behind = scanned < highWatermark && seen !== null
      const seconds = behind ? Math.max(0, nowMs - seen.timestamp) / 1_000 : 0
      const key = `${lane.stream}/${trigger.id}`
      const known = worst.get(key)?.lag ?? { events: 0, seconds: 0 }
      const lag = { events: Math.max(events, known.events), seconds: Math.max(seconds, known.seconds) }
      worst.set(key, { name: { trigger: trigger.id, stream: lane.stream }, lag })
    }
  }
  return new Map([...worst.values()].map(({ name, lag }) => [name, lag]))
}
