import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createBroker, tasksTopic } from '@headrace/broker'
import { eventually, infra } from '@headrace/testing'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { HttpOrchestrator } from '../../test/http-orchestrator.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { workflow } from '../workflow/workflow.ts'
import { Worker } from './worker.ts'
import type { WorkerOptions } from './settings.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const { brokers, prefix } = await infra()
const broker = createBroker({ brokers, clientId: 'worker-test', logger: silent })
const producer = broker.producer()
let orchestrator: HttpOrchestrator
let topic: string
let queues = 0
let stops: (() => Promise<void>)[] = []

beforeEach(async () => {
  queues += 1
  const plan = tasksTopic(prefix, `q${queues}`)
  topic = plan.name
  await broker.topics.ensureTopics([{ ...plan, partitions: 2 }])
  orchestrator = await HttpOrchestrator.start({
    kafka_brokers: brokers,
    task_topic: topic,
    group_id: `${prefix}.workers.q${queues}`,
  })
})

afterEach(async () => {
  orchestrator.mode = 'up'
  for (const stop of stops) await stop()
  stops = []
  await orchestrator.stop()
})

const flow = (handler: (ctx: WorkflowContext, input: unknown) => unknown) => workflow({ id: 'flow' }, handler)

async function startWorker(options: WorkerOptions): Promise<Worker> {
  const worker = new Worker({
    url: orchestrator.url,
    app: 'test',
    log: silent,
    drainTimeout: '1s',
    ...options,
  })
  stops.push(async () => await worker.stop())
  await worker.start()
  return worker
}

async function sendTask(run: { id: string; epoch: number; lost?: number }, partition = 0): Promise<void> {
  const task = {
    run_id: run.id,
    epoch: run.epoch,
    workflow: 'flow',
    lost: run.lost ?? 0,
    input: '{"from":"task"}',
  }
  const [outcome] = await producer.produce([
    { topic, partition, key: null, value: JSON.stringify(task), headers: {} },
  ])
  expect(outcome?.status).toBe('written')
}

async function expectCompleted(id: string): Promise<void> {
  const run = await eventually(`run ${id} has ended`, () => {
    const one = orchestrator.orchestrator.runs.get(id)
    return one?.status === 'completed' || one?.status === 'failed' ? one : null
  })
  expect(run.status).toBe('completed')
}

describe('a worker', () => {
  test('registers, takes a task from its partition, and completes the run', async () => {
    const run = orchestrator.orchestrator.create('flow', { from: 'claim' })
    await startWorker({
      workflows: [flow(async (ctx, input) => await ctx.step.run('a', () => input))],
      apiKey: 'hr_k',
    })
    await sendTask(run)
    await expectCompleted(run.id)
    expect(JSON.parse(run.output ?? '')).toEqual({ from: 'claim' })
    expect(orchestrator.registered).toMatchObject([{ app: 'test', queue: 'default', concurrency: 300 }])
    for (const { headers } of orchestrator.requests)
      expect(headers).toMatchObject({ 'headrace-protocol': '1', authorization: 'Bearer hr_k' })
    await eventually('its heartbeat names its partitions', () =>
      orchestrator.heartbeats.some((beat) => beat.partitions.join() === '0,1'),
    )
  })

  test('steals a queued run that no task brings', async () => {
    const run = orchestrator.orchestrator.create('flow')
    await startWorker({ workflows: [flow(() => 'stolen')] })
    await expectCompleted(run.id)
    expect(run.output).toBe('"stolen"')
  })

  test('begins a run once, however many tasks bring it', async () => {
    const run = orchestrator.orchestrator.create('flow')
    const last = orchestrator.orchestrator.create('flow')
    const handler = vi.fn<() => string>(() => 'done')
    for (const partition of [0, 1, 0, 1]) await sendTask(run, partition)
    await sendTask(last, 0)
    await sendTask(last, 1)
    await startWorker({ workflows: [flow(handler)] })
    await expectCompleted(run.id)
    await expectCompleted(last.id)
    expect(handler).toHaveBeenCalledTimes(2)
  })

  test('drops a task of a workflow that it does not have', async () => {
    const foreign = orchestrator.orchestrator.create('other')
    const run = orchestrator.orchestrator.create('flow')
    await producer.produce([
      {
        topic,
        partition: 0,
        key: null,
        value: JSON.stringify({ run_id: foreign.id, epoch: 1, workflow: 'other', lost: 0 }),
        headers: {},
      },
      { topic, partition: 0, key: null, value: 'no task', headers: {} },
    ])
    await sendTask(run)
    await startWorker({ workflows: [flow(() => 1)] })
    await expectCompleted(run.id)
    expect(foreign.status).toBe('queued')
  })

  test('runs alone what has lost its workers twice', async () => {
    const runs = Array.from({ length: 6 }, () => orchestrator.orchestrator.create('flow'))
    let inHand = 0
    const beside = new Map<string, number>()
    const handler = async (ctx: WorkflowContext): Promise<void> => {
      await ctx.step.run('a', async () => {
        inHand += 1
        await new Promise((resolve) => {
          setImmediate(resolve)
        })
        beside.set(ctx.run.id, inHand)
        inHand -= 1
      })
    }
    for (const [index, run] of runs.entries()) {
      if (index === 2) run.lost = 2
      await sendTask({ ...run, lost: run.lost })
    }
    await startWorker({ workflows: [flow(handler)] })
    for (const run of runs) await expectCompleted(run.id)
    expect(beside.get(runs[2]?.id ?? '')).toBe(1)
  })

  test('that was declared dead drops what it has and registers again under another id', async () => {
    const run = orchestrator.orchestrator.create('flow')
    const signals: AbortSignal[] = []
    let isFirst = true
    await startWorker({
      workflows: [
        flow(async (ctx) => {
          signals.push(ctx.signal)
          await ctx.step.run('a', async () => {
            if (!isFirst) return
            isFirst = false
            await new Promise(() => {})
          })
        }),
      ],
    })
    await sendTask(run)
    await eventually('the run is in hand', () => signals.length === 1)
    await eventually('and a heartbeat lists it', () =>
      orchestrator.heartbeats.some((beat) => beat.runs.some((one) => one.run_id === run.id)),
    )
    orchestrator.dead.add(orchestrator.registered[0]?.worker_id ?? '')
    orchestrator.orchestrator.recover(run.id)
    await expectCompleted(run.id)
    expect(signals[0]?.aborted).toBe(true)
    expect(new Set(orchestrator.registered.map((one) => one.worker_id)).size).toBe(2)
  })

  test('that hears from no orchestrator leaves, and comes back when there is one', async () => {
    const losses: unknown[] = []
    const warn = (fields: object) => {
      if ('event' in fields && fields.event === 'worker.lost') losses.push(fields)
    }
    const worker = await startWorker({ workflows: [flow(() => 1)], log: { ...silent, warn } })
    await eventually('it is ready', () => worker.ready)
    orchestrator.mode = 'away'
    // It is not ready for a moment before it leaves: an answer in between would let it stay.
    await eventually('it left', () => losses.length > 0)
    orchestrator.mode = 'up'
    const run = orchestrator.orchestrator.create('flow')
    await expectCompleted(run.id)
    expect(orchestrator.registered).toHaveLength(2)
    // What it had in hand need not wait until its old id is declared dead.
    expect(orchestrator.registered.map((one) => one.replaces)).toEqual([
      undefined,
      orchestrator.registered[0]?.worker_id,
    ])
  })

  test('that cannot serve its health port ends with that error, and a stop does not wait for it', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => {
      taken.listen(0, '0.0.0.0', resolve)
    })
    const { port } = taken.address() as AddressInfo
    const worker = new Worker({
      url: orchestrator.url,
      app: 'test',
      log: silent,
      workflows: [flow(() => 1)],
      health: { port },
    })
    await expect(worker.run()).rejects.toThrow('EADDRINUSE')
    await expect(worker.stop()).rejects.toThrow('EADDRINUSE')
    taken.close()
  })

  test('whose heartbeats nobody takes leaves, though its commands are answered', async () => {
    const worker = await startWorker({
      workflows: [
        flow(async (ctx) => {
          for (let n = 0; n < 1_000; n += 1) await ctx.step.run(`${n}`, () => n)
        }),
      ],
    })
    await eventually('it is ready', () => worker.ready)
    orchestrator.mode = 'deaf'
    const run = orchestrator.orchestrator.create('flow')
    await sendTask(run)
    await eventually('it left, and came back', () => orchestrator.registered.length > 1)
    orchestrator.mode = 'up'
    await eventually('it is ready again', () => worker.ready)
  })

  test('stays, and sends again, while the orchestrator says that Postgres is away', async () => {
    const worker = await startWorker({ workflows: [flow(async (ctx) => await ctx.step.uuid('id'))] })
    await eventually('it is ready', () => worker.ready)
    orchestrator.mode = 'postgres_away'
    const run = orchestrator.orchestrator.create('flow')
    await sendTask(run)
    const before = orchestrator.requests.length
    await eventually('it asked for longer than its lease', () => orchestrator.requests.length > before + 60)
    orchestrator.mode = 'up'
    await expectCompleted(run.id)
    expect(orchestrator.registered).toHaveLength(1)
  })

  test('goes through the gateway where the orchestrator’s own address cannot be reached', async () => {
    orchestrator.advertised = 'http://127.0.0.1:1'
    const run = orchestrator.orchestrator.create('flow')
    await startWorker({ workflows: [flow(async (ctx) => await ctx.step.uuid('id'))] })
    await expectCompleted(run.id)
    await eventually('and so does its heartbeat', () => orchestrator.heartbeats.length > 0)
  })

  test('lets go of a run that waits, stops without it, and another goes on when the answer comes', async () => {
    const { orchestrator: memory } = orchestrator
    const body = vi.fn<() => number>(() => 1)
    const workflows = [
      flow(async (ctx) => {
        const before = await ctx.step.run('before', body)
        return [before, (await ctx.step.waitForEvent('answer', { topic: 'answers/1' })).data]
      }),
    ]
    const run = memory.create('flow')
    const first = await startWorker({ workflows, concurrency: 1 })
    await sendTask(run)
    await eventually('the run is parked', () => run.status === 'waiting')
    // Its slot is free: the worker takes another run.
    const other = memory.create('flow')
    await sendTask(other)
    await eventually('the other is parked too', () => other.status === 'waiting')
    await eventually('nothing is in hand', () => orchestrator.heartbeats.at(-1)?.runs.length === 0)
    await first.stop()
    expect(run).toMatchObject({ status: 'waiting', epoch: 1 })
    memory.emit('answers/1', 'it came')
    expect(run).toMatchObject({ status: 'queued', epoch: 2 })
    await startWorker({ workflows })
    await sendTask(run)
    await expectCompleted(run.id)
    await expectCompleted(other.id)
    expect(JSON.parse(run.output ?? '')).toEqual([1, 'it came'])
    expect(body).toHaveBeenCalledTimes(2)
  })

  test('goes on with steps and heartbeats while Kafka takes no publish, and publishes when it does', async () => {
    const { orchestrator: memory } = orchestrator
    let attempts = 0
    const publisher = flow(async (ctx) => {
      attempts += 1
      return (await ctx.step.publishEvent('send', { topic: 'requests/1', data: 1 })).sequenceId
    })
    const steps = workflow({ id: 'steps' }, async (ctx) => await ctx.step.run('a', () => 1))
    orchestrator.mode = 'kafka_away'
    await startWorker({ workflows: [publisher, steps] })
    const stalled = memory.create('flow')
    await sendTask(stalled)
    await eventually('the publish was sent again and again', () => {
      const sent = orchestrator.requests.filter(({ path }) => path === '/v1/worker/commands')
      return stalled.status === 'running' && sent.length > 5
    })
    const beats = orchestrator.heartbeats.length
    // Longer than the lease: heartbeats are what keeps it.
    await eventually('the lease has passed', () => orchestrator.heartbeats.length > beats + 15)
    const quick = memory.create('steps')
    await expectCompleted(quick.id)
    expect(stalled.status).toBe('running')
    orchestrator.mode = 'up'
    await expectCompleted(stalled.id)
    expect(memory.log.map((event) => event.id)).toEqual([`${stalled.id}/send`])
    expect(orchestrator.registered).toHaveLength(1)
    expect(attempts).toBe(1)
  })

  test('that stops gives its runs back at their next step boundary', async () => {
    const run = orchestrator.orchestrator.create('flow')
    let release = (): void => {}
    let begun = false
    const worker = await startWorker({
      drainTimeout: '60s',
      workflows: [
        flow(async (ctx) => {
          await ctx.step.run('a', async () => {
            begun = true
            await new Promise<void>((resolve) => {
              release = resolve
            })
          })
          await ctx.step.run('b', () => 'never here')
        }),
      ],
    })
    await sendTask(run)
    await eventually('the body runs', () => begun)
    const stopped = worker.stop()
    await eventually('it says that it is leaving', () =>
      orchestrator.heartbeats.some((beat) => beat.status === 'draining'),
    )
    release()
    await stopped
    expect(run).toMatchObject({ status: 'queued', epoch: 2 })
    expect([...run.steps.keys()]).toEqual(['a'])
  })

  test('that stops aborts a body that takes longer than the drain timeout', async () => {
    const run = orchestrator.orchestrator.create('flow')
    let signal: AbortSignal | null = null
    const worker = await startWorker({
      drainTimeout: '50ms',
      workflows: [
        flow(async (ctx) => {
          await ctx.step.run('a', async (attempt) => {
            signal = attempt.signal
            await new Promise(() => {})
          })
        }),
      ],
    })
    await sendTask(run)
    await eventually('the body runs', () => signal !== null)
    await worker.stop()
    expect(signal!.aborted).toBe(true)
    expect(run).toMatchObject({ status: 'queued', epoch: 2 })
  })
})
