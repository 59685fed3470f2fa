import type { PlannedAcl } from './kafka-plan.ts'
import type { WantedTopic } from './topic-admin.ts'

/** How a plan's commands reach the cluster: the arguments that each of Kafka's own tools takes. */
const REACH = '--bootstrap-server "$BOOTSTRAP" --command-config admin.properties'

/** Makes one topic as the plan wants it. */
export function topicCommand({ name, partitions, config }: WantedTopic, replicationFactor: number): string {
  const settings = Object.entries(config).map(([key, value]) => ` --config ${key}=${value}`)
  const copies = replicationFactor < 1 ? '' : ` --replication-factor ${replicationFactor}`
  return `kafka-topics ${REACH} --create --if-not-exists --topic ${name} --partitions ${partitions}${copies}${settings.join('')}`
}

export function aclCommand({ principal, resource, name, pattern, operations }: PlannedAcl): string {
  const allowed = operations.map((operation) => ` --operation ${operation}`).join('')
  const prefixed = pattern === 'prefixed' ? ' --resource-pattern-type prefixed' : ''
  return `kafka-acls ${REACH} --add --allow-principal '${principal}'${allowed} --${resource} ${name}${prefixed}`
}

/** Changes one setting of a topic that is there: `--create --if-not-exists` leaves it as it is. */
export function configCommand(topic: string, name: string, value: string): string {
  // A comma would begin the next setting, and a bracket is the shell's.
  const setting = value.includes(',') ? `'${name}=[${value}]'` : `${name}=${value}`
  return `kafka-configs ${REACH} --alter --entity-type topics --entity-name ${topic} --add-config ${setting}`
}

/** For whoever is told that topics are missing. */
export const PLAN_HINT =
  'headrace kafka apply makes them, headrace kafka plan prints the commands that do (a stream is named by --stream, a queue by --queue)'
