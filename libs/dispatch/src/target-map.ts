import type { DispatchTarget } from '@headrace/store'

/**
 * Which partitions a run of a workflow may be sent to. Made anew from each reading of the workers; immutable but for
 * the turn it hands out.
 *
 * During a rebalance two workers may say that a partition is theirs. Who of them will read the task is open, so the
 * partition is eligible only for what both can run.
 */
export class TargetMap {
  readonly #partitions = new Map<string, number[]>()
  readonly #turns: Map<string, number>

  /** `turns` goes on from an earlier map, so that a fresh reading does not send everything to partition 0 again. */
  constructor(targets: readonly DispatchTarget[], turns = new Map<string, number>()) {
    this.#turns = turns
    const owners = new Map<string, { queue: string; partition: number; workflows: Set<string> }>()
    for (const { queue, partitions, workflows } of targets) {
      for (const partition of partitions) {
        const at = `${queue}/${partition}`
        const known = owners.get(at)
        const both = known ? workflows.filter((workflow) => known.workflows.has(workflow)) : workflows
        owners.set(at, { queue, partition, workflows: new Set(both) })
      }
    }
    for (const { queue, partition, workflows } of owners.values()) {
      for (const workflow of workflows) {
        const name = `${queue}/${workflow}`
        const eligible = this.#partitions.get(name)
        if (eligible) eligible.push(partition)
        else this.#partitions.set(name, [partition])
      }
    }
    for (const eligible of this.#partitions.values()) eligible.sort((a, b) => a - b)
  }

  has(queue: string, workflow: string): boolean {
    return this.#partitions.has(`${queue}/${workflow}`)
  }

  /** The next eligible partition in turn, passing over those that `usable` refuses; null: there is none. */
  next(queue: string, workflow: string, usable: (partition: number) => boolean = () => true): number | null {
    const name = `${queue}/${workflow}`
    const eligible = this.#partitions.get(name)
    if (!eligible) return null
    const turn = this.#turns.get(name) ?? 0
    for (let step = 0; step < eligible.length; step++) {
      const index = (turn + step) % eligible.length
      const partition = eligible[index]
      if (partition === undefined || !usable(partition)) continue
      this.#turns.set(name, index + 1)
      return partition
    }
    return null
  }
}
