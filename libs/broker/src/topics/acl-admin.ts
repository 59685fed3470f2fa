import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError, kafkaError, kafkaFault } from '../broker-error.ts'
import type { Cluster } from '../wire/cluster.ts'
import type { PlannedAcl } from './kafka-plan.ts'

export interface AclAdmin {
  /**
   * What of these is not granted by an ACL of the very same resource and principal, to all hosts: the operations that are
   * missing. An ACL on a wider resource is not looked for. Throws `security_disabled` where the brokers have no authorizer.
   */
  missing(acls: readonly PlannedAcl[]): Promise<PlannedAcl[]>
  /**
   * Grants them, and waits until the brokers know; what is granted already is fine. Throws `security_disabled` where the brokers have no
   * authorizer.
   */
  create(acls: readonly PlannedAcl[]): Promise<void>
}

// The numbers of Kafka's protocol: org.apache.kafka.common.resource and org.apache.kafka.common.acl.
const ANY = 1
const ALLOW = 3
const ALL_HOSTS = '*'
const resources = { topic: 2, group: 3 }
const patterns = { literal: 3, prefixed: 4 }
const ALL = 2
const operationCodes: ReadonlyMap<string, number> = new Map([
  ['Read', 3],
  ['Write', 4],
  ['Create', 5],
  ['Delete', 6],
  ['Alter', 7],
  ['Describe', 8],
  ['DescribeConfigs', 10],
  ['AlterConfigs', 11],
])

interface DescribeAnswer {
  errorCode: number
  resources: {
    resourceType: number
    resourceName: string
    resourcePatternType: number
    acls: { principal: string; host: string; operation: number; permissionType: number }[]
  }[]
}

interface CreateAnswer {
  creationResponses: { errorCode: number; errorMessage: string | null }[]
}

/** How long the brokers may take to learn of new ACLs, and how often that is looked at (ms). */
const VISIBLE_WITHIN_MS = 10_000
const LOOK_EVERY_MS = 50

export function createAclAdmin(cluster: Cluster): AclAdmin {
  return {
    missing: async (acls) => await missingOf(cluster, acls),

    async create(acls) {
      const creations = acls.flatMap(({ principal, resource, name, pattern, operations }) =>
        operations.map((operation) => ({
          resourceType: resources[resource],
          resourceName: name,
          resourcePatternType: patterns[pattern],
          principal,
          host: ALL_HOSTS,
          operation: codeOf(operation),
          permissionType: ALLOW,
        })),
      )
      if (creations.length === 0) return
      const link = await cluster.anyLink()
      const answer = await link.request<CreateAnswer>('CreateAcls', { creations }, { raw: true })
      const refused = answer.creationResponses.find(({ errorCode }) => errorCode !== 0)
      if (refused !== undefined) throw aclError(refused.errorCode, refused.errorMessage)
      // The controller has them; whoever uses them at once must not be refused by a broker that has not heard of them.
      const deadline = performance.now() + VISIBLE_WITHIN_MS
      while ((await missingOf(cluster, acls)).length > 0 && performance.now() < deadline)
        await sleep(LOOK_EVERY_MS)
    },
  }
}

async function missingOf(cluster: Cluster, acls: readonly PlannedAcl[]): Promise<PlannedAcl[]> {
  const granted = new Set<string>()
  for (const principal of new Set(acls.map((acl) => acl.principal)))
    for (const grant of await grantsOf(cluster, principal)) granted.add(grant)
  return acls.flatMap((acl) => {
    const operations = granted.has(grantKey(acl, ALL))
      ? []
      : acl.operations.filter((operation) => !granted.has(grantKey(acl, codeOf(operation))))
    return operations.length === 0 ? [] : [{ ...acl, operations }]
  })
}

type Granted = Pick<PlannedAcl, 'principal' | 'resource' | 'name' | 'pattern'>

const grantKey = ({ principal, resource, name, pattern }: Granted, operation: number): string =>
  keyOf(principal, resources[resource], name, patterns[pattern], operation)

const keyOf = (...parts: readonly (string | number)[]): string => JSON.stringify(parts)

async function grantsOf(cluster: Cluster, principal: string): Promise<string[]> {
  const link = await cluster.anyLink()
  const answer = await link.request<DescribeAnswer>(
    'DescribeAcls',
    {
      resourceType: ANY,
      resourceName: null,
      resourcePatternType: ANY,
      principal,
      host: ALL_HOSTS,
      operation: ANY,
      permissionType: ALLOW,
    },
    { raw: true },
  )
  if (answer.errorCode !== 0) throw aclError(answer.errorCode, null)
  return answer.resources.flatMap(({ resourceType, resourceName, resourcePatternType, acls }) =>
    acls.map((acl) => keyOf(acl.principal, resourceType, resourceName, resourcePatternType, acl.operation)),
  )
}

function codeOf(operation: string): number {
  const code = operationCodes.get(operation)
  if (code === undefined) throw new TypeError(`no such operation of an ACL: ${operation}`)
  return code
}

function aclError(errorCode: number, detail: string | null): BrokerError {
  const { code, retryable } = kafkaFault(errorCode)
  if (detail === null || detail === '') return kafkaError(errorCode, 'ACLs')
  return new BrokerError(code, `ACLs: ${detail}`, { retryable })
}
