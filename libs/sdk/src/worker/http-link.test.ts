import type { Command, CommandReply, CommandsRequest } from '@headrace/schemas'
import { describe, expect, test, vi } from 'vitest'
import type { HttpAnswer } from './http-exchange.ts'
import { HttpLink } from './http-link.ts'
import type { OrchestratorRoute } from './orchestrator-route.ts'
import { LinkClosedError } from './worker-link.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const release = (epoch: number): Command => ({ kind: 'release', run_id: 'r', epoch })
const publishTo = (topic: string): Command => ({
  kind: 'publish',
  run_id: 'r',
  epoch: 1,
  key: topic,
  topic,
  event_type: null,
  data: 'null',
  event_key: null,
})
const done: CommandReply = { kind: 'done' }
const answer = (status: number, body: object): HttpAnswer => ({
  status,
  retryAfterMs: null,
  text: JSON.stringify(body),
})
const allDone = ({ commands }: CommandsRequest): HttpAnswer =>
  answer(200, { replies: commands.map(() => done) })

/** A link whose requests the test answers. */
function open(respond: (request: CommandsRequest, attempt: number) => HttpAnswer | Promise<HttpAnswer>) {
  const requests: CommandsRequest[] = []
  const onUnknownWorker = vi.fn<() => void>()
  const route = {
    post: async (_path: string, body: string) => {
      const request = JSON.parse(body) as CommandsRequest
      requests.push(request)
      return await respond(request, requests.length)
    },
  } as unknown as OrchestratorRoute
  const link = new HttpLink({ workerId: 'w', route, log: silent, onUnknownWorker })
  const epochs = () => requests.map(({ commands }) => commands.map((one) => ('epoch' in one ? one.epoch : 0)))
  return { link, requests, epochs, onUnknownWorker }
}

describe('the link', () => {
  test('gathers what is given in one turn, and what is given while a request is under way', async () => {
    let arrived = (): void => {}
    let letGo = (): void => {}
    const underWay = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const held = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const { link, epochs } = open(async (request, attempt) => {
      if (attempt === 1) {
        arrived()
        await held
      }
      return allDone(request)
    })
    const first = [link.send(release(1)), link.send(release(2))]
    await underWay
    const second = [link.send(release(3)), link.send(release(4)), link.send(release(5))]
    letGo()
    await Promise.all([...first, ...second])
    expect(epochs()).toEqual([
      [1, 2],
      [3, 4, 5],
    ])
    expect(link.pending).toBe(0)
  })

  test('sends the same commands again until they are answered, whatever went wrong', async () => {
    const { link, epochs } = open((request, attempt) => {
      if (attempt === 1) throw new Error('connection refused')
      if (attempt === 2) return answer(503, { code: 'postgres_unavailable', detail: '' })
      // What a proxy says.
      if (attempt === 3) return { status: 200, retryAfterMs: null, text: '<html>' }
      return attempt === 4 ? answer(200, { status: 'ok' }) : allDone(request)
    })
    await expect(link.send(release(1))).resolves.toEqual(done)
    expect(epochs()).toEqual([[1], [1], [1], [1], [1]])
  })

  test('sends a refused batch command by command, so that one bad one is refused alone', async () => {
    const { link, epochs } = open((request) =>
      request.commands.some((one) => 'epoch' in one && one.epoch === 2)
        ? answer(422, { code: 'invalid_field', detail: 'no' })
        : allDone(request),
    )
    const replies = await Promise.all([1, 2, 3].map(async (epoch) => await link.send(release(epoch))))
    expect(replies).toEqual([done, { kind: 'refused', code: 'invalid_field', detail: 'no' }, done])
    expect(epochs()).toEqual([[1, 2, 3], [1], [2], [3]])
  })

  describe('a step that met another stored result', () => {
    const step = (run_id: string): Command => ({
      kind: 'step',
      run_id,
      epoch: 1,
      key: 'a',
      step_kind: 'run',
      n: 0,
      seen: 0,
      output: '1',
      error: null,
      attempts: 1,
      started_at: 0,
      finished_at: 0,
    })
    const complete = (run_id: string): Command => ({ kind: 'complete', run_id, epoch: 1, output: '1' })
    const replyTo = (command: Command): CommandReply => {
      if (command.kind !== 'step') return done
      const { kind: _, run_id, started_at: __, finished_at: ___, ...stored } = command
      if (run_id === 'fine') return { kind: 'stored' }
      return { kind: 'exists', step: { ...stored, output: run_id === 'same' ? '1' : '2' } }
    }
    const answered = ({ commands }: CommandsRequest) => answer(200, { replies: commands.map(replyTo) })
    const differs = { kind: 'refused', code: 'stored_step_differs' }
    const completed = (requests: CommandsRequest[]) =>
      requests.flatMap(({ commands }) =>
        commands.flatMap((one) => (one.kind === 'complete' ? [one.run_id] : [])),
      )

    test('lets no complete of its run go that was gathered before its answer', async () => {
      const early: Promise<CommandReply>[] = []
      const { link, requests } = open((request) => {
        if (requests.length === 1)
          early.push(...['other', 'same', 'fine'].map(async (run) => await link.send(complete(run))))
        return answered(request)
      })
      await Promise.all(['other', 'same', 'fine'].map(async (run) => await link.send(step(run))))
      expect(await Promise.all(early)).toMatchObject([differs, done, done])
      expect(completed(requests)).toEqual(['same', 'fine'])
      // What the orchestrator sees in one request it judges itself.
      await Promise.all([link.send(step('other')), link.send(complete('other'))])
      expect(completed(requests)).toEqual(['same', 'fine', 'other'])
    })

    test('nor where a refused batch is sent command by command', async () => {
      const { link, requests } = open((request) =>
        request.commands.length > 1
          ? answer(422, { code: 'invalid_field', detail: 'no' })
          : answered(request),
      )
      const sent = [step('other'), complete('other'), step('fine'), complete('fine')]
      expect(await Promise.all(sent.map(async (command) => await link.send(command)))).toMatchObject([
        { kind: 'exists' },
        differs,
        { kind: 'stored' },
        done,
      ])
      expect(completed(requests.slice(1))).toEqual(['fine'])
    })
  })

  test('ends when its worker is unknown: nobody waits for an answer that will not come', async () => {
    const { link, onUnknownWorker } = open(() => answer(409, { code: 'unknown_worker', detail: '' }))
    await expect(link.send(release(1))).rejects.toBeInstanceOf(LinkClosedError)
    await expect(link.send(release(2))).rejects.toBeInstanceOf(LinkClosedError)
    expect(onUnknownWorker).toHaveBeenCalledTimes(1)
  })

  test('keeps a request below what the orchestrator takes', async () => {
    const { link, epochs } = open(allDone)
    const output = JSON.stringify('x'.repeat(3 * 1024 * 1024))
    const large = (epoch: number): Command => ({ kind: 'complete', run_id: 'r', epoch, output })
    await Promise.all([1, 2, 3, 4, 5].map(async (epoch) => await link.send(large(epoch))))
    expect(epochs()).toEqual([[1, 2], [3, 4], [5]])
  })

  test('keeps publishes out of the way of everything else, and each stream out of the way of the others', async () => {
    let stalls = true
    const stalled: string[] = []
    const { link, requests } = open((request) => {
      const topics = request.commands.flatMap((one) => (one.kind === 'publish' ? [one.topic] : []))
      if (!stalls || !topics.includes('slow/1')) return allDone(request)
      stalled.push(...topics)
      return answer(503, { code: 'kafka_unavailable', detail: '' })
    })
    const slow = [link.send(publishTo('slow/1')), link.send(publishTo('slow/2'))]
    const quick = [link.send(release(1)), link.send(publishTo('quick/1')), link.send(release(2))]
    expect(await Promise.all(quick)).toEqual([done, done, done])
    // Answered by a refusal that will pass: the same request goes on being made, and nothing else is held up by it.
    while (stalled.length < 4) await link.send(release(3))
    expect(stalled.slice(0, 4)).toEqual(['slow/1', 'slow/2', 'slow/1', 'slow/2'])
    expect(link.pending).toBe(2)
    stalls = false
    expect(await Promise.all(slow)).toEqual([done, done])
    expect(link.pending).toBe(0)
    for (const { commands } of requests)
      expect(
        new Set(commands.map((one) => (one.kind === 'publish' ? one.topic.split('/')[0] : ''))),
      ).toHaveLength(1)
  })

  test('closes all its lanes', async () => {
    const { link } = open(async () => await new Promise(() => {}))
    const sent = [link.send(release(1)), link.send(publishTo('a/b')), link.send(publishTo('c/d'))]
    link.close()
    for (const one of await Promise.allSettled(sent))
      expect(one).toMatchObject({ status: 'rejected', reason: expect.any(LinkClosedError) as unknown })
    await expect(link.send(publishTo('a/b'))).rejects.toBeInstanceOf(LinkClosedError)
  })
})
