import { StreamsRefusedError } from '@headrace/broker'
import { type Caller, openCaller } from '@headrace/http'
import { limits, ProblemError } from '@headrace/schemas'
import { createMetrics } from '@headrace/service'
import { expect, test } from 'vitest'
import { createGatewayMetrics } from '../gateway-metrics.ts'
import { createAdmission } from '../ingest/admission.ts'
import { createRateLimit } from '../ingest/rate-limit.ts'
import type { BodyLine } from '../ingest/read-lines.ts'
import { answerLines, GROUP_EVENTS_MAX } from './answer-lines.ts'
import type { EventOutcome } from './event-outcome.ts'
import type { PublishEvents } from './publish-events.ts'

interface Told {
  line?: number
  id?: string
  sequence_id?: number
  problem?: { code: string }
}

/** Answers these lines, in groups as given. `fails`: ids that Kafka does not take; `refuses`: streams that are not made. */
async function answered(
  groups: string[][],
  {
    fails = [],
    refuses = [],
    away = [],
    caller = openCaller,
  }: { fails?: string[]; refuses?: string[]; away?: string[]; caller?: Caller } = {},
) {
  const written: string[][] = []
  const ensured = new Set<string>()
  const publish: PublishEvents = (events) => {
    written.push(events.map(({ id }) => id))
    const fateOf = ({ id, topic, stream, callerId }: (typeof events)[number], index: number): EventOutcome =>
      fails.includes(id)
        ? { kind: 'failed', id: callerId, problem: new ProblemError('kafka_unavailable', 'away') }
        : {
            kind: 'written',
            event: {
              id,
              topic,
              stream,
              partition: 0,
              sequence_id: index,
              created_at: '2026-01-01T00:00:00Z',
            },
          }
    return Promise.resolve(events.map(fateOf))
  }
  const ensure = (streams: ReadonlySet<string>): Promise<void> => {
    for (const stream of streams) ensured.add(stream)
    const refused = [...streams].filter((stream) => refuses.includes(stream))
    if (refused.length > 0)
      return Promise.reject(new StreamsRefusedError('stream_autocreate_off', refused, 'it is not made'))
    const isAway = [...streams].some((stream) => away.includes(stream))
    return isAway ? Promise.reject(new ProblemError('kafka_unavailable', 'away')) : Promise.resolve()
  }
  async function* lines(): AsyncGenerator<BodyLine[]> {
    let line = 1
    for (const group of groups) yield group.map((text) => ({ line: line++, bytes: Buffer.from(text) }))
  }
  const admission = createAdmission({ bytesMax: 1, eventsMax: 1 })
  const answers = answerLines(lines(), {
    streams: { knowsAll: () => false, ensure, forget: () => undefined },
    publish,
    metrics: createGatewayMetrics(createMetrics(), admission),
    rate: createRateLimit(() => 0),
    rules: { types: { of: () => null }, isFramed: false, bindingOf: () => null },
    caller,
    now: () => 0,
    publisher: { keyId: 'local', idempotencyKey: null },
    trace: { beginBatch: () => null, endBatch: () => undefined },
    requestId: 'r',
  })
  let text = ''
  for await (const each of answers) text += each
  const told = text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Told)
  return {
    told: told.map(({ line, problem }) => [line, problem?.code ?? 'written']),
    written,
    ensured: [...ensured],
    ids: told.map(({ id }) => id),
  }
}

const event = (id: string, topic = 'a/x'): string => JSON.stringify({ topic, data: 1, id })

test('L1, L2: each line is answered in its place, and one that is no event stops no other', async () => {
  const { told, written } = await answered([
    [event('a'), '{', event('b')],
    ['{"topic":"a/x"}', event('c')],
  ])
  expect(told).toEqual([
    [1, 'written'],
    [2, 'invalid_json'],
    [3, 'written'],
    [4, 'required'],
    [5, 'written'],
  ])
  expect(written).toEqual([['a', 'b'], ['c']])
})

test('L2: nor does one whose stream is refused, or whose id was there before', async () => {
  const group = [event('a'), event('b', 'off/x'), event('a'), event('c')]
  const { told, ids } = await answered([group], { refuses: ['off'] })
  expect(told).toEqual([
    [1, 'written'],
    [2, 'stream_autocreate_off'],
    [3, 'duplicate_event_id'],
    [4, 'written'],
  ])
  expect(ids).toEqual(['a', 'b', undefined, 'c'])
})

test('a line that is refused makes no stream', async () => {
  const revoked = { ...openCaller, isValid: () => false }
  const refused = await answered([[event('a'), event('b', 'other/x')]], { caller: revoked })
  expect([refused.told[0], refused.ensured]).toEqual([[1, 'unauthorized'], []])
  const { told, ensured } = await answered([[event('a'), '{"topic":"bad/x"}', event('b', 'other/x')]])
  expect(told.map(([, code]) => code)).toEqual(['written', 'required', 'written'])
  expect(ensured).toEqual(['a', 'other'])
})

test('L3: behind a line that Kafka did not take nothing is tried any more', async () => {
  const { told, written } = await answered([[event('a'), event('b')], [event('c'), '{'], [event('d')]], {
    fails: ['b'],
  })
  expect(told).toEqual([
    [1, 'written'],
    [2, 'kafka_unavailable'],
    [3, 'not_attempted'],
    [4, 'invalid_json'],
    [5, 'not_attempted'],
  ])
  expect(written).toEqual([['a', 'b']])
})

test('L3: nor behind one whose stream cannot be asked for, and its group is told the same', async () => {
  const { told, written } = await answered([[event('a'), event('b', 'new/x'), '{'], [event('c')]], {
    away: ['new'],
  })
  expect(told).toEqual([
    [1, 'kafka_unavailable'],
    [2, 'kafka_unavailable'],
    [3, 'invalid_json'],
    [4, 'not_attempted'],
  ])
  expect(written).toEqual([])
})

test('what came at once is written in parts of 500, and ends at 10,000 lines', async () => {
  const more = limits.requestEventsMax + 1
  const { told, written } = await answered([Array.from({ length: more }, (_, n) => event(`e${n}`))])
  expect(written.map((part) => part.length)).toEqual(
    Array.from({ length: limits.requestEventsMax / GROUP_EVENTS_MAX }, () => GROUP_EVENTS_MAX),
  )
  expect(told).toHaveLength(more)
  expect(told.at(-1)).toEqual([undefined, 'too_many_events'])
})
