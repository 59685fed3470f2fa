import { partitionKey } from '../records.ts'

/** One member of the group as it describes itself when it joins. */
export interface Member {
  readonly memberId: string
  /** The topics it wants and knows to exist. */
  readonly topics: readonly string[]
  /** What it owned in the generation it last took part in. */
  readonly owned: Readonly<Record<string, readonly number[]>>
  /** That generation; 0 for a newcomer. Of two claims on a partition the younger counts. */
  readonly generation: number
}

export interface GroupAssignment {
  /** Member → topic → partitions, ascending. Every member is in it. */
  readonly members: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>
  /** Partitions that no member wants. */
  readonly unowned: readonly { topic: string; partition: number }[]
}

/**
 * Decides who owns which partition: a pure function of what the members say, so that any leader decides alike.
 *
 * kafkajs's assigners hand out the *leader's* topics: what the leader does not know, nobody reads, and what a member does
 * not know it drops, both in silence. Here
 * 1. a partition goes only to a member that wants its topic;
 * 2. every partition of a topic that some member wants has exactly one owner;
 * 3. each topic, then the whole, is spread as evenly as the members' topics allow;
 * 4. what a member owned it keeps, unless (3) demands a move: a lane that moves is built anew.
 */
export function assign(members: readonly Member[], partitions: ReadonlyMap<string, number>): GroupAssignment {
  const board = new Board(members)
  const unowned: { topic: string; partition: number }[] = []
  const claims = claimsOf(members)
  const open: { topic: string; partition: number }[] = []
  for (const topic of [...partitions.keys()].sort()) {
    for (let partition = 0; partition < (partitions.get(topic) ?? 0); partition += 1) {
      const claimant = claims.get(partitionKey(topic, partition))
      if (board.wanting(topic).length === 0) unowned.push({ topic, partition })
      else if (claimant !== undefined && board.wanting(topic).includes(claimant))
        board.give(topic, partition, claimant)
      else open.push({ topic, partition })
    }
  }
  // Those that few members want first: the others can still even out around them.
  open.sort((a, b) => board.wanting(a.topic).length - board.wanting(b.topic).length)
  for (const { topic, partition } of open) board.give(topic, partition, board.leastBusy(topic))
  while (board.evenOut()) {
    // Each round strictly lowers the sum of squares of (partitions a topic a member, then partitions a member): it ends.
  }
  return { members: board.result(), unowned }
}

function claimsOf(members: readonly Member[]): Map<string, string> {
  const claims = new Map<string, string>()
  const byAge = [...members].sort((a, b) => a.generation - b.generation || order(a.memberId, b.memberId))
  for (const { memberId, owned } of byAge) {
    for (const [topic, list] of Object.entries(owned)) {
      for (const partition of list) claims.set(partitionKey(topic, partition), memberId)
    }
  }
  return claims
}

/** Who owns what so far, with the counts that decisions need. */
class Board {
  readonly #ids: readonly string[]
  readonly #wanting = new Map<string, string[]>()
  readonly #owners = new Map<string, Map<number, string>>()
  readonly #total = new Map<string, number>()
  readonly #perTopic = new Map<string, Map<string, number>>()

  constructor(members: readonly Member[]) {
    this.#ids = members.map(({ memberId }) => memberId).sort(order)
    for (const { memberId, topics } of [...members].sort((a, b) => order(a.memberId, b.memberId))) {
      for (const topic of new Set(topics))
        this.#wanting.set(topic, [...(this.#wanting.get(topic) ?? []), memberId])
    }
  }

  wanting(topic: string): readonly string[] {
    return this.#wanting.get(topic) ?? []
  }

  give(topic: string, partition: number, memberId: string): void {
    const owners = this.#owners.get(topic) ?? new Map<number, string>()
    const counts = this.#perTopic.get(topic) ?? new Map<string, number>()
    const before = owners.get(partition)
    if (before !== undefined) {
      counts.set(before, (counts.get(before) ?? 0) - 1)
      this.#total.set(before, this.#load(before) - 1)
    }
    owners.set(partition, memberId)
    counts.set(memberId, (counts.get(memberId) ?? 0) + 1)
    this.#total.set(memberId, this.#load(memberId) + 1)
    this.#owners.set(topic, owners)
    this.#perTopic.set(topic, counts)
  }

  leastBusy(topic: string): string {
    const [best] = [...this.wanting(topic)].sort(
      (a, b) => this.#share(topic, a) - this.#share(topic, b) || this.#load(a) - this.#load(b) || order(a, b),
    )
    return best ?? ''
  }

  /** Moves partitions from the busier to the less busy; false when nothing was left to gain. */
  evenOut(): boolean {
    let moved = false
    for (const [topic, owners] of this.#owners) {
      for (const [partition, owner] of owners) {
        const target = this.wanting(topic).find((other) => this.#gains(topic, owner, other))
        if (target === undefined) continue
        this.give(topic, partition, target)
        moved = true
      }
    }
    return moved
  }

  result(): Map<string, Map<string, number[]>> {
    const result = new Map(this.#ids.map((id) => [id, new Map<string, number[]>()]))
    for (const [topic, owners] of this.#owners) {
      for (const [partition, owner] of [...owners].sort(([a], [b]) => a - b)) {
        const topics = result.get(owner)
        topics?.set(topic, [...(topics.get(topic) ?? []), partition])
      }
    }
    return result
  }

  #gains(topic: string, from: string, to: string): boolean {
    const share = this.#share(topic, from) - this.#share(topic, to)
    const load = this.#load(from) - this.#load(to)
    return share >= 2 || (share >= 1 && load >= 2)
  }

  #share(topic: string, memberId: string): number {
    return this.#perTopic.get(topic)?.get(memberId) ?? 0
  }

  #load(memberId: string): number {
    return this.#total.get(memberId) ?? 0
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
