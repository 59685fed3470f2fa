import type { DispatchTarget, TaskSeed } from '@headrace/store'

/**
 * Which partitions a run of a workflow may be sent to. Made anew from each reading of the workers; immutable but for
 * the turn it hands out.
 *
 * During a rebalance two workers may say that a partition is theirs. Who of them will read the task is open, so the
 * partition is eligible only for what both can run.
 *
 * A run of a pinned workflow goes on only with the build on which it began, and none of a paused workflow begins.
 */
export class TargetMap {
  readonly #pinned = new Set<string>()
  readonly #paused = new Set<string>()
  readonly #partitions = new Map<string, number[]>()
  readonly #turns: Map<string, number>

  /** `turns` goes on from an earlier map, so that a fresh reading does not send everything to partition 0 again. */
  constructor(targets: readonly DispatchTarget[], turns = new Map<string, number>()) {
    this.#turns = turns
    const owners = new Map<string, { queue: string; partition: number; code: Set<string> }>()
    for (const { queue, partitions, workflows, build, pinned, paused } of targets) {
      for (const workflow of pinned) this.#pinned.add(workflow)
      for (const workflow of paused) this.#paused.add(workflow)
      const code = [...workflows, ...pinned.map((workflow) => codeOf(workflow, build))]
      for (const partition of partitions) {
        const at = `${queue}/${partition}`
        const known = owners.get(at)
        const both = known ? code.filter((each) => known.code.has(each)) : code
        owners.set(at, { queue, partition, code: new Set(both) })
      }
    }
    for (const { queue, partition, code } of owners.values()) {
      for (const each of code) {
        const name = `${queue}/${each}`
        const eligible = this.#partitions.get(name)
        if (eligible) eligible.push(partition)
        else this.#partitions.set(name, [partition])
      }
    }
    for (const eligible of this.#partitions.values()) eligible.sort((a, b) => a - b)
  }

  /** The next eligible partition in turn, passing over those that `usable` refuses; null: there is none. */
  next(
    { queue, workflow, build }: Pick<TaskSeed, 'queue' | 'workflow' | 'build'>,
    usable: (partition: number) => boolean = () => true,
  ): number | null {
    if (build === null && this.#paused.has(workflow)) return null
    const code = build !== null && this.#pinned.has(workflow) ? codeOf(workflow, build) : workflow
    const name = `${queue}/${code}`
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

/** No workflow's name has a `/`. */
const codeOf = (workflow: string, build: string): string => `${workflow}/${build}`
