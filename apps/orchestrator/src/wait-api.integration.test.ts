import type { Problem, WireList, WireRun, WireWait } from '@headrace/schemas'
import { createDatabase, infra } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type FakeWorker,
  sleepCommand,
  suspendCommand,
  waitCommand,
  workflowOf,
} from './fakes/fake-worker.ts'
import { openedStream, respond } from './fakes/responses.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
let headrace: Started
let worker: FakeWorker
/** One that waits for two things, one that was answered. */
let waiting: string
let answered: string

async function claimed(): Promise<string> {
  const { body } = await headrace.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow: 'shop' } })
  await worker.claim(body.id)
  return body.id
}
const waits = async (query = '') => await headrace.call<WireList<WireWait>>(`/v1/waits${query}`)
const named = ({ body }: { body: WireList<WireWait> }) => body.data.map(({ run_id, key }) => [run_id, key])

beforeAll(async () => {
  headrace = await startedOrchestrator({ brokers, prefix, databaseUrl })
  worker = await headrace.lastingWorker({ workflows: [workflowOf('shop')] })
  await openedStream(headrace.store, 'approvals')
  waiting = await claimed()
  answered = await claimed()
  await respond(headrace.store, 'approvals/yes', { by: 'ann' })
  await worker.do(
    waitCommand(waiting, 'approval', 'approvals/no', { filter: 'event.data.ok', timeout_ms: 60_000 }),
    sleepCommand(waiting, 'nap', { after_ms: 3_600_000 }),
    waitCommand(answered, 'approval', 'approvals/yes', { since: { ago_ms: 48 * 3_600_000 } }),
  )
  await worker.do(suspendCommand(waiting))
})
afterAll(async () => await headrace.stop())

describe('the list of waits', () => {
  test('shows what a run waits for, and until when', async () => {
    const { body } = await waits(`?run_id=${waiting}&topic=approvals/no`)
    expect(body).toEqual({
      data: [
        {
          run_id: waiting,
          key: 'approval',
          kind: 'event',
          status: 'open',
          topic: 'approvals/no',
          if: 'event.data.ok',
          since: expect.stringMatching(/Z$/),
          expires_at: expect.stringMatching(/Z$/),
          lookback_truncated: false,
          unverified: false,
          answer: null,
          child_run_id: null,
          created_at: expect.stringMatching(/Z$/),
          answered_at: null,
        },
      ],
      next_cursor: null,
    })
    const [wait] = body.data
    expect(Date.parse(wait!.expires_at!) - Date.parse(wait!.created_at)).toBe(60_000)
    const { body: run } = await headrace.call<WireRun>(`/v1/runs/${waiting}`)
    expect(run.waiting_for).toEqual(
      expect.arrayContaining([
        { key: 'approval', kind: 'event', topic: 'approvals/no', expires_at: wait!.expires_at },
        expect.objectContaining({ key: 'nap', kind: 'time', topic: null }),
      ]),
    )
  })

  test('names the event that answered, and what was asked for beyond the look-back', async () => {
    const { body } = await waits(`?run_id=${answered}`)
    expect(body.data).toMatchObject([
      {
        status: 'answered',
        lookback_truncated: true,
        answer: { stream: 'approvals', partition: 0, sequence_id: 0 },
        answered_at: expect.stringMatching(/Z$/),
      },
    ])
    const [wait] = body.data
    const askedMs = Date.parse(wait!.created_at) - Date.parse(wait!.since)
    expect(Math.abs(askedMs - 48 * 3_600_000)).toBeLessThanOrEqual(1)
  })

  test('is narrowed by all of its parameters together', async () => {
    expect(named(await waits('?status=answered'))).toEqual([[answered, 'approval']])
    expect(named(await waits('?status=open,answered&topic=approvals/yes'))).toEqual([[answered, 'approval']])
    expect(named(await waits(`?status=answered&run_id=${waiting}`))).toEqual([])
    expect(named(await waits('?topic=approvals/none'))).toEqual([])
    expect(named(await waits(`?run_id=${crypto.randomUUID()}`))).toEqual([])
  })

  test('goes on where the last page ended, each wait once', async () => {
    const whole = named(await waits())
    expect(whole).toHaveLength(3)
    const seen: unknown[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page = await waits(`?limit=1${cursor === '' ? '' : `&cursor=${cursor}`}`)
      seen.push(...named(page))
      cursor = page.body.next_cursor
    }
    expect(seen).toEqual(whole)
  })

  test.each([
    ['?status=done', 'invalid_query', '?status'],
    ['?status=open,', 'invalid_query', '?status'],
    ['?topic=approvals/*', 'invalid_query', '?topic'],
    ['?topic=', 'invalid_query', '?topic'],
    ['?run_id=42', 'invalid_query', '?run_id'],
    ['?limit=201', 'invalid_query', '?limit'],
    ['?cursor=e30', 'invalid_cursor', '?cursor'],
    ['?key=nap', 'invalid_query', '?key'],
  ])('%s is refused as %s', async (query, code, pointer) => {
    const { status, body } = await headrace.call<Problem>(`/v1/waits${query}`)
    expect({ status, code: body.code, pointer: body.errors?.[0]?.pointer }).toEqual({
      status: 422,
      code,
      pointer,
    })
  })
})

test('the streams that runs have waited on are listed, with the time from which on they are kept', async () => {
  const { body } =
    await headrace.call<WireList<{ stream: string; projected_from: string }>>('/v1/waited-streams')
  expect(body).toEqual({
    data: [{ stream: 'approvals', projected_from: expect.stringMatching(/Z$/) }],
    next_cursor: null,
  })
})
