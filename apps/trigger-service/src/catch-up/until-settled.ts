import type { Follower } from '../lanes/follower.ts'

/** Waits until enough of what a follower closed is settled. Whoever drops it must do so when `signal` is aborted. */
export async function untilSettled(
  follower: Follower,
  isEnough: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const settled = follower.onSettled
  while (!isEnough()) {
    signal.throwIfAborted()
    await new Promise<void>((go) => {
      follower.onSettled = () => {
        settled()
        go()
      }
    })
  }
  follower.onSettled = settled
}
