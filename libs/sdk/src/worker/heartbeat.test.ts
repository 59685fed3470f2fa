import { Worker as Thread } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import { Heartbeat } from './heartbeat.ts'
import { InHandTable, readInHand } from './in-hand-table.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const run = { run_id: '01234567-89ab-7def-8123-456789abcdef', epoch: 3 }

/** An orchestrator in a thread of its own: the main loop is blocked in these tests. It keeps the last body in `seen`. */
const server = `
const { createServer } = require('node:http')
const { parentPort, workerData } = require('node:worker_threads')
const flag = new Int32Array(workerData)
createServer((request, response) => {
  let text = ''
  request.on('data', (chunk) => { text += chunk })
  request.on('end', () => {
    const beat = JSON.parse(text)
    parentPort.postMessage(beat)
    if (beat.worker_id === 'revoked') response.statusCode = 401
    response.end(JSON.stringify(response.statusCode === 401 ? { code: 'unauthorized' } : { status: 'ok', lost: [] }))
    if (beat.stalled_ms > 0) { Atomics.store(flag, 0, 1); Atomics.notify(flag, 0) }
  })
}).listen(0, '127.0.0.1', function () { parentPort.postMessage({ port: this.address().port }) })
`

let stop: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const one of stop) await one()
  stop = []
})

async function startHeartbeat(heartbeatMs = 100, workerId = 'w1') {
  const flag = new Int32Array(new SharedArrayBuffer(4))
  const thread = new Thread(server, { eval: true, workerData: flag.buffer })
  const messages = thread.listenerCount('message')
  const beats: Record<string, unknown>[] = []
  let heard: () => void = () => {}
  const port = await new Promise<number>((resolve) => {
    thread.on('message', (message: Record<string, unknown>) => {
      if ('port' in message) return resolve(message['port'] as number)
      beats.push(message)
      heard()
    })
  })
  const table = new InHandTable(8)
  const { promise: death, resolve: tellDeath } = Promise.withResolvers<void>()
  const { promise: answer, resolve: tellAnswer } = Promise.withResolvers<'taken' | 'refused'>()
  const url = `http://127.0.0.1:${port}`
  const heartbeat = new Heartbeat({
    data: {
      orchestratorUrl: url,
      gatewayUrl: url,
      workerId,
      headers: {},
      heartbeatMs,
      inHand: table.buffer,
    },
    log: silent,
    onAnswer: () => tellAnswer('taken'),
    onRefused: () => tellAnswer('refused'),
    onDeath: () => tellDeath(),
    onLost: () => {},
    onUnknownWorker: () => {},
  })
  stop = [async () => await heartbeat.stop(), async () => await thread.terminate()]
  const until = async (fits: (beat: Record<string, unknown>) => boolean) => {
    while (!beats.some(fits))
      await new Promise<void>((resolve) => {
        heard = resolve
      })
    return beats.find(fits)
  }
  return { heartbeat, table, flag, beats, until, messages, death, answer }
}

describe('the heartbeat', () => {
  test('goes on while the main loop is blocked, tells what is in hand, and says that it stalls', async () => {
    const { table, flag, until } = await startHeartbeat()
    await until(() => true)
    table.add(run)
    // Blocks this very thread until the orchestrator has been told.
    expect(Atomics.wait(flag, 0, 0, 40_000)).not.toBe('timed-out')
    const stalled = await until((beat) => Number(beat['stalled_ms']) > 0)
    expect(stalled).toMatchObject({ worker_id: 'w1', runs: [run], stealing: false })
  })

  test('says at once what the worker owns', async () => {
    const { heartbeat, until } = await startHeartbeat()
    heartbeat.say({ partitions: [0, 3] })
    expect(await until((beat) => String(beat['partitions']) === '0,3')).toMatchObject({ status: 'live' })
    heartbeat.say({ status: 'draining' })
    expect(await until((beat) => beat['status'] === 'draining')).toMatchObject({ partitions: [0, 3] })
  })
})

test('a heartbeat that is refused for its key was not taken', async () => {
  const { answer } = await startHeartbeat(100, 'revoked')
  expect(await answer).toBe('refused')
  const { answer: other } = await startHeartbeat()
  expect(await other).toBe('taken')
})

test('a heartbeat whose thread dies says so: without it its worker would be a corpse that goes on taking tasks', async () => {
  // No interval at all: the thread ends with a TypeError.
  const { death } = await startHeartbeat(1n as unknown as number)
  await expect(death).resolves.toBeUndefined()
})

describe('the table of what is in hand', () => {
  test('is read by another thread as it was written', () => {
    const table = new InHandTable(2)
    const other = { run_id: 'ffffffff-ffff-7fff-bfff-ffffffffffff', epoch: 1 }
    expect(table.add(run)).toBe(true)
    expect(table.add(run)).toBe(false)
    expect(table.add(other)).toBe(true)
    expect(table.add({ ...other, epoch: 2 })).toBe(false)
    expect(readInHand(table.buffer).runs).toEqual([run, other])
    table.remove(run)
    table.setStealing(true)
    expect(readInHand(table.buffer)).toEqual({ stealing: true, runs: [other] })
    expect(table.has(run)).toBe(false)
  })
})
