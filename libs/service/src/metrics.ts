import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'

/** Every name of ours starts with this. */
const METRIC_PREFIX = 'headrace_'

/** Buckets for durations in seconds: from a poll on this machine to a run that takes minutes. */
export const SECONDS_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
]

export interface MetricOptions<Label extends string> {
  /** Without the prefix: `gateway_events_total`. */
  name: string
  help: string
  /** Bounded sets only (workflow, queue, trigger, stream, …); never a topic, a key or a run id. */
  labels?: readonly Label[]
}

export interface HistogramOptions<Label extends string> extends MetricOptions<Label> {
  /** Upper bounds; `SECONDS_BUCKETS` unless said. */
  buckets?: readonly number[]
}

export interface GaugeOptions<Label extends string> extends MetricOptions<Label> {
  /** Called at each scrape to set the value. */
  collect?: (gauge: Gauge<Label>) => void | Promise<void>
}

/**
 * The metrics of one service. Each service has its own: three apps may share a process, and then each
 * answers for itself on its own management port. Asking twice for a name gives the same metric.
 */
export interface Metrics {
  readonly registry: Registry
  counter<Label extends string = never>(options: MetricOptions<Label>): Counter<Label>
  gauge<Label extends string = never>(options: GaugeOptions<Label>): Gauge<Label>
  histogram<Label extends string = never>(options: HistogramOptions<Label>): Histogram<Label>
}

export interface CreateMetricsOptions {
  /** Also the process's own metrics (CPU, memory, event loop). Leave off for a second service in a process. */
  process?: boolean
}

export function createMetrics(options: CreateMetricsOptions = {}): Metrics {
  const registry = new Registry()
  if (options.process === true) collectDefaultMetrics({ register: registry, prefix: METRIC_PREFIX })
  return {
    registry,
    counter: (metric) => known(registry, metric.name, Counter) ?? new Counter(shape(registry, metric)),
    gauge<Label extends string>(metric: GaugeOptions<Label>): Gauge<Label> {
      const { collect } = metric
      const found = known<Gauge<Label>>(registry, metric.name, Gauge)
      if (found !== null) return found
      const made: Gauge<Label> = new Gauge<Label>({
        ...shape(registry, metric),
        ...(collect === undefined ? {} : { collect: () => collect(made) }),
      })
      return made
    },
    histogram: (metric) =>
      known(registry, metric.name, Histogram) ??
      new Histogram({ ...shape(registry, metric), buckets: [...(metric.buckets ?? SECONDS_BUCKETS)] }),
  }
}

function shape<Label extends string>(registry: Registry, { name, help, labels }: MetricOptions<Label>) {
  return { name: METRIC_PREFIX + name, help, labelNames: [...(labels ?? [])], registers: [registry] }
}

function known<Metric>(
  registry: Registry,
  name: string,
  kind: new (...args: never[]) => Metric,
): Metric | null {
  const found: unknown = registry.getSingleMetric(METRIC_PREFIX + name)
  if (found === undefined) return null
  if (found instanceof kind) return found
  throw new TypeError(`${METRIC_PREFIX}${name} is already a metric of another kind than ${kind.name}`)
}
