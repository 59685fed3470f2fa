import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assign, type GroupAssignment, type Member } from './assigner.ts'

const topicNames = ['a', 'b', 'c', 'd']
const memberArbitrary = fc.record({
  topics: fc.subarray(topicNames),
  owned: fc.dictionary(fc.constantFrom(...topicNames), fc.uniqueArray(fc.nat(14), { maxLength: 6 })),
  generation: fc.nat(3),
})
const membersArbitrary = fc
  .array(memberArbitrary, { minLength: 1, maxLength: 6 })
  .map((members): Member[] => members.map((member, index) => ({ memberId: `m${index}`, ...member })))
const partitionsArbitrary = fc
  .tuple(...topicNames.map(() => fc.nat(12)))
  .map((counts) => new Map(topicNames.map((name, index) => [name, counts[index] ?? 0])))

function ownersOf({ members }: GroupAssignment): Map<string, string[]> {
  const owners = new Map<string, string[]>()
  for (const [memberId, topics] of members) {
    for (const [topic, partitions] of topics) {
      for (const partition of partitions) {
        const key = `${topic}/${partition}`
        owners.set(key, [...(owners.get(key) ?? []), memberId])
      }
    }
  }
  return owners
}

function asMembers(members: readonly Member[], result: GroupAssignment, generation: number): Member[] {
  return members.map((member) => ({
    ...member,
    generation,
    owned: Object.fromEntries(result.members.get(member.memberId) ?? []),
  }))
}

const newcomer = (memberId: string, topics: string[]): Member => ({
  memberId,
  topics,
  owned: {},
  generation: 0,
})

describe('the assignment of partitions', () => {
  it('gives every partition of a topic that somebody wants exactly one owner, who wants it', () => {
    fc.assert(
      fc.property(membersArbitrary, partitionsArbitrary, (members, partitions) => {
        const result = assign(members, partitions)
        const owners = ownersOf(result)
        for (const [topic, count] of partitions) {
          const wanting = members
            .filter(({ topics }) => topics.includes(topic))
            .map(({ memberId }) => memberId)
          for (let partition = 0; partition < count; partition += 1) {
            const found = owners.get(`${topic}/${partition}`) ?? []
            const unowned = result.unowned.some((one) => one.topic === topic && one.partition === partition)
            expect(found.length).toBe(wanting.length > 0 ? 1 : 0)
            expect(unowned).toBe(wanting.length === 0)
            for (const owner of found) expect(wanting).toContain(owner)
          }
        }
        expect([...result.members.keys()].sort()).toEqual(members.map(({ memberId }) => memberId).sort())
      }),
    )
  })

  it('spreads each topic evenly over the members that want it', () => {
    fc.assert(
      fc.property(membersArbitrary, partitionsArbitrary, (members, partitions) => {
        const { members: dealt } = assign(members, partitions)
        for (const topic of partitions.keys()) {
          const shares = members
            .filter(({ topics }) => topics.includes(topic))
            .map(({ memberId }) => dealt.get(memberId)?.get(topic)?.length ?? 0)
          expect(Math.max(0, ...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
        }
      }),
    )
  })

  it('moves nothing when nothing changed', () => {
    fc.assert(
      fc.property(membersArbitrary, partitionsArbitrary, (members, partitions) => {
        const first = assign(members, partitions)
        const second = assign(asMembers(members, first, 9), partitions)
        expect(second.members).toEqual(first.members)
      }),
    )
  })

  it('does not depend on the order in which members are listed', () => {
    fc.assert(
      fc.property(membersArbitrary, partitionsArbitrary, (members, partitions) => {
        expect(assign(members.toReversed(), partitions).members).toEqual(assign(members, partitions).members)
      }),
    )
  })

  it('takes from the others only what a newcomer needs', () => {
    const partitions = new Map([['a', 8]])
    const two = [newcomer('m0', ['a']), newcomer('m1', ['a'])]
    const before = assign(two, partitions)
    const three = [...asMembers(two, before, 1), newcomer('m2', ['a'])]
    const after = ownersOf(assign(three, partitions))
    const moved = [...ownersOf(before)].filter(([key, [owner]]) => after.get(key)?.[0] !== owner)
    expect(moved).toHaveLength(2)
  })

  it('deals out topics that the leader itself does not know', () => {
    const members = [newcomer('leader', ['a']), newcomer('other', ['b'])]
    const { members: dealt } = assign(
      members,
      new Map([
        ['a', 2],
        ['b', 2],
      ]),
    )
    expect(dealt.get('other')?.get('b')).toEqual([0, 1])
  })

  it('believes the younger of two claims on a partition', () => {
    const members: Member[] = [
      { memberId: 'm0', topics: ['a'], owned: { a: [0] }, generation: 4 },
      { memberId: 'm1', topics: ['a'], owned: { a: [0] }, generation: 5 },
    ]
    expect(
      assign(members, new Map([['a', 1]]))
        .members.get('m1')
        ?.get('a'),
    ).toEqual([0])
  })
})
