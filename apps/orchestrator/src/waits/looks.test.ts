import { silentLogger } from '@headrace/service'
import { movableClock } from '@headrace/testing'
import { expect, test } from 'vitest'
import { createLooks, LOOK_MOMENT_MS } from './looks.ts'

const wait = (key: string) => ({ runId: 'r', key })

function scene() {
  const clock = movableClock()
  const asked: string[] = []
  const open = new Map<string, { done(): void; fail(error: Error): void }>()
  const looks = createLooks({
    log: silentLogger,
    clock,
    selfRead: async (refs) => {
      for (const { key } of refs) {
        asked.push(key)
        if (!key.startsWith('slow')) continue
        const { promise, resolve, reject } = Promise.withResolvers<void>()
        open.set(key, { done: resolve, fail: reject })
        await promise
      }
    },
  })
  return { looks, clock, asked, open }
}

test('a registration is answered when its waits have looked', async () => {
  const { looks, clock, asked } = scene()
  await looks.begin([wait('a'), wait('b')])
  expect([asked, clock.pending]).toEqual([['a', 'b'], 0])
  await looks.begin([])
})

test('a look that takes long holds up its own registration for a moment, and nobody else’s', async () => {
  const { looks, clock, asked, open } = scene()
  const slow = looks.begin([wait('slow'), wait('a')])
  await looks.begin([wait('b')])
  expect(asked).toEqual(['slow', 'a', 'b'])
  await clock.advance(LOOK_MOMENT_MS)
  await slow
  expect(looks.idle([wait('slow'), wait('a')])).toEqual([wait('a')])
  open.get('slow')?.done()
  await looks.begin([wait('c')])
  expect(looks.idle([wait('slow')])).toEqual([wait('slow')])
})

test('a wait that is registered again while it looks does not look twice at once', async () => {
  const { looks, asked, open } = scene()
  const both = [looks.begin([wait('slow')]), looks.begin([wait('slow')])]
  open.get('slow')?.done()
  await Promise.all(both)
  expect(asked).toEqual(['slow'])
})

test('a failure is told to who still waits, and harms nobody afterwards', async () => {
  const { looks, clock, open } = scene()
  const told = looks.begin([wait('slow1')])
  open.get('slow1')?.fail(new Error('Postgres is away'))
  await expect(told).rejects.toThrow('Postgres is away')
  const late = looks.begin([wait('slow2')])
  await clock.advance(LOOK_MOMENT_MS)
  await late
  open.get('slow2')?.fail(new Error('Postgres is away'))
  await looks.begin([wait('a')])
  expect(looks.idle([wait('slow1'), wait('slow2')])).toHaveLength(2)
})

test('so many look at a time, and the next as soon as one is through', async () => {
  const { looks, clock, asked, open } = scene()
  const many = Array.from({ length: 20 }, (_, n) => wait(`slow${n}`))
  const begun = looks.begin(many)
  await clock.advance(LOOK_MOMENT_MS)
  await begun
  expect(asked).toHaveLength(16)
  for (const { key } of many) {
    open.get(key)?.done()
    await clock.advance(0)
  }
  expect(asked).toHaveLength(20)
  expect(looks.idle(many)).toHaveLength(20)
})
