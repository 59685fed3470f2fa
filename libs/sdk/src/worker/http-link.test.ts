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
