import { describe, expect, it } from 'vitest'
import { assign } from './assigner.ts'
import { decodeAssignment, decodeMember, encodeAssignments, encodeMembership } from './membership.ts'

describe('what members of a group tell each other', () => {
  it('comes back as it was said', () => {
    const membership = { topics: ['b', 'a'], owned: { a: [1, 2] }, generation: 7, counts: { a: 4, b: 1 } }
    expect(decodeMember('m', encodeMembership(membership))).toEqual({
      memberId: 'm',
      topics: ['a', 'b'],
      owned: { a: [1, 2] },
      generation: 7,
      counts: { a: 4, b: 1 },
    })
  })

  it('is a newcomer where another client says nothing that we know', () => {
    const foreign = Buffer.from(encodeMembership({ topics: ['a'], owned: {}, generation: 1, counts: {} }))
    foreign.fill(0x7b, foreign.length - 4)
    expect(decodeMember('m', foreign)).toMatchObject({ topics: ['a'], owned: {}, generation: 0 })
  })

  it('carries to each member its partitions, and the counts of all', () => {
    const members = [{ memberId: 'm', topics: ['a'], owned: {}, generation: 0 }]
    const counts = new Map([['a', 2]])
    const [encoded] = encodeAssignments(assign(members, counts), counts)
    expect(decodeAssignment(encoded!.memberAssignment)).toEqual({
      assignment: { a: [0, 1] },
      counts: { a: 2 },
    })
  })

  it('is no partition for a member that was dealt nothing', () => {
    expect(decodeAssignment(Buffer.alloc(0))).toEqual({ assignment: {}, counts: {} })
  })
})
