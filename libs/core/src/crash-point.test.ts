import { afterEach, expect, test } from 'vitest'
import {
  armCrashPoint,
  checkpoint,
  crashPoint,
  parseCrashPointSpec,
  setCheckpointHandler,
  setCrashHandler,
} from './crash-point.ts'

afterEach(() => {
  setCrashHandler(null)
  setCheckpointHandler(null)
})

test('without a handler a crash point does nothing, and a checkpoint holds nobody', () => {
  expect(() => crashPoint('x')).not.toThrow()
  expect(checkpoint('x')).toBeUndefined()
})

test('an armed crash point fires at its N-th passing, once, and no other does', () => {
  const crashes: string[] = []
  expect(armCrashPoint('after-commit:2', (name) => crashes.push(name))).toBe(true)
  for (const name of ['after-commit', 'elsewhere', 'after-commit', 'after-commit']) crashPoint(name)
  expect(crashes).toEqual(['after-commit'])
})

test('nothing is armed by an absent or empty setting', () => {
  expect(armCrashPoint(undefined, () => undefined)).toBe(false)
  expect(armCrashPoint('', () => undefined)).toBe(false)
})

test.each(['Name', 'x:0', 'x:', ':1', 'x y', 'x:1.5'])(
  '"%s" is refused: a test that crashes nothing proves nothing',
  (text) => {
    expect(() => parseCrashPointSpec(text)).toThrow(RangeError)
  },
)

test('a checkpoint holds the code until its handler lets it go', async () => {
  const gate = Promise.withResolvers<void>()
  setCheckpointHandler((name) => (name === 'held' ? gate.promise : undefined))
  expect(checkpoint('free')).toBeUndefined()
  let passed = false
  const passing = (async () => {
    await checkpoint('held')
    passed = true
  })()
  expect(passed).toBe(false)
  gate.resolve()
  await passing
  expect(passed).toBe(true)
})
