import { assignerProtocol } from '../wire/kafkajs-internals.ts'
import type { GroupAssignment, Member } from './assigner.ts'

/** The name under which members agree on how partitions are dealt. Changing what it means takes a new name. */
export const PROTOCOL_NAME = 'headrace-sticky'
const VERSION = 0

/** What a member sends when it joins: Kafka's consumer format, and ours in its user data. */
export interface Membership {
  readonly topics: readonly string[]
  readonly owned: Readonly<Record<string, readonly number[]>>
  readonly generation: number
  /** Partition counts as this member sees them. Different bytes make the coordinator rebalance when a topic grew. */
  readonly counts: Readonly<Record<string, number>>
}

/** What the leader sends each member: its partitions, and the counts that were dealt, so that each can check the whole. */
export interface DealtAssignment {
  readonly assignment: Readonly<Record<string, readonly number[]>>
  readonly counts: Readonly<Record<string, number>>
}

export function encodeMembership({ topics, owned, generation, counts }: Membership): Buffer {
  return assignerProtocol.MemberMetadata.encode({
    version: VERSION,
    topics: [...topics].sort(),
    userData: Buffer.from(JSON.stringify({ owned, generation, counts })),
  })
}

/** User data that cannot be read (another client in our group) counts as a newcomer's. */
export function decodeMember(
  memberId: string,
  metadata: Buffer,
): Member & { counts: Readonly<Record<string, number>> } {
  const { topics, userData } = assignerProtocol.MemberMetadata.decode(metadata)
  const said = parse(userData) as Partial<Membership>
  return {
    memberId,
    topics,
    owned: said.owned ?? {},
    generation: said.generation ?? 0,
    counts: said.counts ?? {},
  }
}

export function encodeAssignments(
  { members }: GroupAssignment,
  counts: ReadonlyMap<string, number>,
): { memberId: string; memberAssignment: Buffer }[] {
  const userData = Buffer.from(JSON.stringify({ counts: Object.fromEntries(counts) }))
  return [...members].map(([memberId, topics]) => {
    const assignment = Object.fromEntries([...topics].map(([topic, partitions]) => [topic, [...partitions]]))
    return {
      memberId,
      memberAssignment: assignerProtocol.MemberAssignment.encode({ version: VERSION, assignment, userData }),
    }
  })
}

export function decodeAssignment(bytes: Buffer): DealtAssignment {
  const decoded = assignerProtocol.MemberAssignment.decode(bytes)
  if (decoded === null) return { assignment: {}, counts: {} }
  const said = parse(decoded.userData) as Partial<DealtAssignment>
  return { assignment: decoded.assignment, counts: said.counts ?? {} }
}

function parse(userData: Buffer | null): object {
  try {
    const value: unknown = JSON.parse((userData ?? Buffer.alloc(0)).toString())
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {}
  }
}
