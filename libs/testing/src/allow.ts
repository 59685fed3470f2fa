import kafkajs, { type AclOperationTypes as Operation, Kafka, logLevel } from 'kafkajs'

// Node sees these names of a CommonJS module in its default export only.
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs

/** As `kafka-acls --allow-principal … --operation …` has them. */
export interface AllowedAcl {
  readonly principal: string
  readonly resource: 'topic' | 'group'
  readonly name: string
  readonly pattern: 'literal' | 'prefixed'
  readonly operations: readonly string[]
}

/** Adds ACLs, as a super user. */
export async function allow(brokers: readonly string[], acls: readonly AllowedAcl[]): Promise<void> {
  const admin = new Kafka({ clientId: 'acls', brokers: [...brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    await admin.createAcls({ acl: acls.flatMap(entriesOf) })
  } finally {
    await admin.disconnect()
  }
}

/** kafkajs knows the operations in capitals: `DescribeConfigs` is `DESCRIBE_CONFIGS`. */
function entriesOf({ principal, resource, name, pattern, operations }: AllowedAcl) {
  return operations.map((operation) => ({
    resourceType: resource === 'topic' ? AclResourceTypes.TOPIC : AclResourceTypes.GROUP,
    resourceName: name,
    resourcePatternType: pattern === 'literal' ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED,
    principal,
    host: '*',
    operation: AclOperationTypes[
      operation.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase() as keyof typeof AclOperationTypes
    ] as unknown as Operation,
    permissionType: AclPermissionTypes.ALLOW,
  }))
}
