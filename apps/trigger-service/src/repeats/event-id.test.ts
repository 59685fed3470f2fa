import { asEventId, type EventRecord, limits } from '@headrace/schemas'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { storableName } from '@headrace/store'
import { entryOf } from './event-id.ts'

const event = (over: Partial<Omit<EventRecord, 'id'>> & { id?: string } = {}): EventRecord => ({
  source: 'till',
  topic: 'orders/created',
  eventType: null,
  data: null,
  key: null,
  createdAt: 1_795_000_000_000,
  stream: 'orders',
  partition: 3,
  sequenceId: 17,
  traceparent: null,
  dedup: true,
  ...over,
  id: asEventId(over.id ?? 'e1'),
})
const run = '019a0000-0000-7000-8000-00000000abcd'

describe('an event id as it is entered', () => {
  it('is the id and source as they are, with the position and the log time', () => {
    expect(entryOf(event(), 2)).toEqual({
      stream: 'orders',
      source: 'till',
      id: 'e1',
      incarnation: 2,
      partition: 3,
      sequenceId: 17,
      logTimeMs: 1_795_000_000_000,
      runId: null,
    })
  })

  it('belongs to the run that published it, and to no run when another source says so or the id names none', () => {
    expect(entryOf(event({ source: 'headrace:run', id: `${run}/ask` }), 1).runId).toBe(run)
    expect(entryOf(event({ source: 'till', id: `${run}/ask` }), 1).runId).toBeNull()
    for (const id of [run, 'x/ask', '/ask', `${run}x/ask`, `x${run}/ask`, `${run.toUpperCase()}/ask`])
      expect(entryOf(event({ source: 'headrace:run', id }), 1).runId).toBeNull()
  })

  it('has a time that Postgres can hold, whatever clock its sender had', () => {
    expect(entryOf(event({ createdAt: -1 }), 1).logTimeMs).toBe(0)
    expect(entryOf(event({ createdAt: 9e18 }), 1).logTimeMs).toBe(limits.timeMsMax)
  })
})

describe('a name in a key of Postgres', () => {
  const longest = 'é'.repeat(limits.idCharactersMax)

  it('is the name itself up to the longest that the gateway lets pass', () => {
    for (const name of ['e1', 'order 17', '\ufeffe1', '😀', longest]) expect(storableName(name)).toBe(name)
  })

  it('is a hash where the name is longer, holds NUL, half a surrogate pair, or looks like a hash', () => {
    const names = [`${longest}x`, 'a\u0000b', '\ud800', 'sha256:abc', 'x'.repeat(1_000_000)]
    for (const name of names) expect(storableName(name)).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  it('never is that of another name, also of one that begins alike or was made to look like its hash', () => {
    const names = [
      `${longest}x`,
      `${longest}y`,
      longest,
      'ab',
      'a\u0000b',
      '\ud800',
      '\ud801',
      '\ufffd',
      '\udc00',
    ]
    const all = [...names, ...names.map(storableName)]
    const distinct = new Set(all)
    expect(new Set([...distinct].map(storableName)).size).toBe(distinct.size)
    const anyString = fc.string({ unit: 'binary', maxLength: 400 })
    fc.assert(
      fc.property(anyString, anyString, (a, b) => (a === b) === (storableName(a) === storableName(b))),
    )
  })
})
