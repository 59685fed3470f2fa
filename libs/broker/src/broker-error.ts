import { protocolError } from './wire/kafkajs-internals.ts'

/** Something Kafka, or the way to it, refused. `code` is stable: Kafka's own error name in lower case, or one of ours. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: string
  /** Whether the same call can succeed later without a change. */
  readonly retryable: boolean

  constructor(code: string, message: string, options: { retryable: boolean; cause?: unknown }) {
    super(message, { cause: options.cause })
    this.code = code
    this.retryable = options.retryable
  }
}

/**
 * A request that got no answer. `sent: false` is certain: not one byte left this process.
 * With `sent: true` the broker may have acted on it.
 */
export class LinkError extends BrokerError {
  readonly sent: boolean

  constructor(code: string, message: string, options: { sent: boolean; cause?: unknown }) {
    super(code, message, { retryable: true, cause: options.cause })
    this.sent = options.sent
  }
}

interface KafkaFault {
  readonly code: string
  readonly retryable: boolean
  readonly message: string
}

const faults: ReadonlyMap<number, KafkaFault> = new Map(
  protocolError.errorCodes.map(({ code, type, retriable, message }) => [
    code,
    { code: type.toLowerCase(), retryable: retriable, message },
  ]),
)

/** Kafka's numeric error codes that are decided upon here. */
export const KAFKA = {
  none: 0,
  offsetOutOfRange: 1,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  notLeader: 6,
  notCoordinator: 16,
  coordinatorNotAvailable: 15,
  coordinatorLoading: 14,
  illegalGeneration: 22,
  topicAuthorizationFailed: 29,
  unknownMember: 25,
  rebalanceInProgress: 27,
  topicAlreadyExists: 36,
  memberIdRequired: 79,
} as const

/** The name and nature of a numeric error of Kafka's; codes newer than kafkajs are `kafka_error_<n>`, not retryable. */
export function kafkaFault(code: number): KafkaFault {
  return (
    faults.get(code) ?? {
      code: `kafka_error_${code}`,
      retryable: false,
      message: `Kafka answered with error ${code}`,
    }
  )
}

/** The ACL without which Kafka refuses a request. */
export interface NeededAcl {
  /** As `kafka-acls` names it. `Describe` comes with any of Read, Write, Alter and Delete. */
  readonly operation: string
  readonly resource: 'topic' | 'group' | 'cluster'
  /** Null: of any topic. */
  readonly name: string | null
}

export const topicAcl = (operation: string, name: string): NeededAcl => ({
  operation,
  resource: 'topic',
  name,
})
/** Kafka gives a producer its id for the right to write somewhere, and tells its refusal as one of the cluster's. */
export const anyTopicAcl: NeededAcl = { operation: 'Write', resource: 'cluster', name: null }
export const groupAcl = (name: string): NeededAcl => ({ operation: 'Read', resource: 'group', name })

/** `needed`: what to grant where the error is that Kafka allows it to nobody like us. */
export function kafkaError(code: number, about: string, needed?: NeededAcl): BrokerError {
  const fault = kafkaFault(code)
  const message = `${about}: ${faultMessage(code, needed)}`
  return new BrokerError(fault.code, message, { retryable: fault.retryable })
}

/** Kafka's own words, or of a missing right which one it is: Kafka tells no more than the kind of resource. */
export function faultMessage(code: number, needed?: NeededAcl): string {
  return isRefusal(kafkaFault(code).code, needed) ? refusalOf(needed) : kafkaFault(code).message
}

/** Where Kafka's error came as its name. */
export function codeMessage(code: string, needed: NeededAcl): string {
  return isRefusal(code, needed) ? refusalOf(needed) : code
}

const isRefusal = (code: string, needed: NeededAcl | undefined): needed is NeededAcl =>
  needed !== undefined && code === `${needed.resource}_authorization_failed`

const refusalOf = ({ operation, resource, name }: NeededAcl): string =>
  `Kafka does not allow this principal to ${operation} on ${name === null ? 'any topic' : `${resource} ${name}`}; headrace kafka plan prints the ACLs that it needs, and headrace kafka apply --acls grants them`

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The stable code of any error, for log lines. */
export function codeOf(error: unknown): string {
  return error instanceof BrokerError ? error.code : 'unexpected'
}
