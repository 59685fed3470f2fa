import { describe, expect, it } from 'vitest'
import { WakeUp } from './wake-up.ts'

const LONG_MS = 1_000_000

describe('a wait that can be poked', () => {
  it('ends when poked', async () => {
    const wakeUp = new WakeUp()
    const waiting = wakeUp.wait(LONG_MS)
    wakeUp.poke()
    await expect(waiting).resolves.toBeUndefined()
  })

  it('does not begin when the poke came before it, once', async () => {
    const wakeUp = new WakeUp()
    wakeUp.poke()
    wakeUp.poke()
    await wakeUp.wait(LONG_MS)
    const second = wakeUp.wait(LONG_MS)
    wakeUp.poke()
    await expect(second).resolves.toBeUndefined()
  })

  it('ends by itself', async () => {
    await expect(new WakeUp().wait(1)).resolves.toBeUndefined()
  })
})
