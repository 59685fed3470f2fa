import type { Command, CommandReply, CommandsRequest } from '@headrace/schemas'
import { describe, expect, test, vi } from 'vitest'
import type { HttpAnswer } from './http-exchange.ts'
import { HttpLink } from './http-link.ts'
import type { OrchestratorRoute } from './orchestrator-route.ts'
import { LinkClosedError } from './worker-link.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const release = (epoch: number): Command => ({ kind: 'release', run_id: 'r', epoch })
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
  return { link, epochs, onUnknownWorker }
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
      return attempt === 2 ? answer(503, { code: 'postgres_unavailable', detail: '' }) : allDone(request)
    })
    await expect(link.send(release(1))).resolves.toEqual(done)
    expect(epochs()).toEqual([[1], [1], [1]])
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
})
