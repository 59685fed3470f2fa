/** What a broker has beside its plain listener: for tests of secured ones. */
export interface KafkaExtras {
  /** On loopback. The protocol is Kafka's: `SASL_SSL`, `SSL`, … */
  listeners: readonly { name: string; port: number; protocol: string }[]
  /** Over our own settings. */
  properties: Readonly<Record<string, string | number | boolean>>
  /** Known to SCRAM-SHA-512 and SCRAM-SHA-256 from the first start on. */
  scramUsers: readonly { name: string; password: string }[]
}

/** Settings of a small one-node Kafka: broker and controller in one, internal topics of one partition. */
export interface KafkaProperties {
  port: number
  controllerPort: number
  /** Where it keeps its log. */
  logDir: string
  /** On which addresses it listens; in a container all, else loopback only. */
  listenHost: string
  extras?: KafkaExtras
}

/** The text of `server.properties`. */
export function kafkaProperties({
  port,
  controllerPort,
  logDir,
  listenHost,
  extras,
}: KafkaProperties): string {
  const more = extras?.listeners ?? []
  const listeners = more.map((listener) => `,${listener.name}://127.0.0.1:${listener.port}`).join('')
  const protocols = more.map(({ name, protocol }) => `,${name}:${protocol}`).join('')
  const properties: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://${listenHost}:${port},CONTROLLER://127.0.0.1:${controllerPort}${listeners}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}${listeners}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': `CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT${protocols}`,
    'log.dirs': propertyPath(logDir),
    // A deleted topic must stay deleted, whoever still asks for it.
    'auto.create.topics.enable': false,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 1,
    // The first member need not wait for others that may come.
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    'log.cleaner.dedupe.buffer.size': 2_097_152,
    // Index files are allocated whole: 10 MiB each would fill a disk with empty partitions.
    'log.index.size.max.bytes': 1_048_576,
    'num.network.threads': 2,
    'num.io.threads': 4,
    'background.threads': 2,
    // There is nobody to hand leadership to, but a broker that says goodbye need not wait for its old session
    // at the next start: 2 s instead of 4.
    'controlled.shutdown.enable': true,
    // After kill -9 the restart waits for the old session to end: keep it short.
    'broker.heartbeat.interval.ms': 500,
    'broker.session.timeout.ms': 2000,
    ...extras?.properties,
  }
  return `${Object.entries(properties)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`
}

/** A backslash starts an escape in a properties file. */
function propertyPath(path: string): string {
  return path.replaceAll('\\', '\\\\')
}
