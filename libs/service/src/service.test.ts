import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import { createHealth } from './health.ts'
import { silentLogger } from './log.ts'
import { runService, type ServiceContext } from './service.ts'

const common = { name: 'test', log: silentLogger, drainTimeoutMs: 1_000 }

test('what was acquired is released in reverse order, once, however often stop is called', async () => {
  const order: string[] = []
  const service = await runService({
    ...common,
    start: async ({ onStop }) => {
      onStop(() => void order.push('first'))
      onStop(async () => void order.push('second'))
      return 42
    },
  })
  expect(service.handle).toBe(42)
  expect(await Promise.all([service.stop(), service.stop(), service.stopped])).toEqual([
    'drained',
    'drained',
    'drained',
  ])
  expect(order).toEqual(['second', 'first'])
})

test('it is not ready before its start is through, though no check says so', async () => {
  const health = createHealth()
  const service = await runService({
    ...common,
    health,
    start: async () => expect(await health.readiness()).toMatchObject({ ready: false }),
  })
  expect(await health.readiness()).toEqual({ ready: true, checks: {} })
  await service.stop()
})

test('a stop while it starts ends what the start waits for, and releases in order with time to drain', async () => {
  const stop = new AbortController()
  const clock = movableClock()
  let deadlineWhileReleasing: boolean | null = null
  const starting = runService({
    ...common,
    clock,
    signal: stop.signal,
    start: async ({ signal, onStop }) => {
      onStop((deadline) => {
        deadlineWhileReleasing = deadline.aborted
      })
      await clock.sleep(60_000, signal)
    },
  })
  await clock.resting()
  stop.abort(new Error('SIGTERM while starting'))
  await expect(starting).rejects.toThrow('SIGTERM while starting')
  expect(deadlineWhileReleasing).toBe(false)
})

test('while draining the signal is live and the service not ready; afterwards the signal is aborted', async () => {
  const health = createHealth()
  const seen: unknown[] = []
  const service = await runService({
    ...common,
    health,
    start: async ({ onStop, signal }: ServiceContext) => {
      onStop(async () => void seen.push(signal.aborted, (await health.readiness()).ready))
    },
  })
  expect((await health.readiness()).ready).toBe(true)
  await service.stop()
  expect(seen).toEqual([false, false])
  expect(service.signal.reason).toMatchObject({ code: 'service_stopped' })
})

test('at the drain deadline the signal is aborted, and what waits on it ends', async () => {
  const clock = movableClock()
  const order: string[] = []
  const service = await runService({
    ...common,
    clock,
    start: async ({ onStop }) => {
      onStop(() => void order.push('after'))
      onStop(async (deadline) => {
        await new Promise((resolve) => deadline.addEventListener('abort', resolve))
        order.push('aborted')
      })
    },
  })
  const stopping = service.stop()
  await clock.resting()
  await clock.advance(1_000)
  expect(await stopping).toBe('aborted')
  expect(order).toEqual(['aborted', 'after'])
  expect(service.signal.reason).toMatchObject({ code: 'drain_timeout' })
})

test('a release that never ends is left behind after its grace; those behind it still run', async () => {
  const clock = movableClock()
  const order: string[] = []
  const service = await runService({
    ...common,
    clock,
    start: async ({ onStop }) => {
      onStop(() => void order.push('after'))
      onStop(async () => await new Promise(() => undefined))
    },
  })
  const stopping = service.stop()
  await clock.resting()
  await clock.advance(1_000)
  await clock.resting()
  await clock.advance(2_000)
  expect(await stopping).toBe('aborted')
  expect(order).toEqual(['after'])
})

test('a release that throws does not keep the others from running', async () => {
  const order: string[] = []
  const service = await runService({
    ...common,
    start: async ({ onStop }) => {
      onStop(() => void order.push('first'))
      onStop(async () => {
        throw new Error('no')
      })
    },
  })
  await service.stop()
  expect(order).toEqual(['first'])
})

test('a start that fails half-way releases what was up, and rejects with its error', async () => {
  const order: string[] = []
  const starting = runService({
    ...common,
    start: async ({ onStop }) => {
      onStop(() => void order.push('released'))
      throw new Error('port taken')
    },
  })
  await expect(starting).rejects.toThrow('port taken')
  expect(order).toEqual(['released'])
})
