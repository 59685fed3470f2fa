import { readdirSync, readFileSync } from 'node:fs'

/** Linux counts a process's time in ticks of 10 ms (USER_HZ, fixed at 100 for user space). */
const tickMs = 10

interface Stat {
  parent: number
  ms: number
  endedChildrenMs: number
}

function statOf(pid: number): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    const [parent = 0] = fields.slice(1, 2)
    const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15)
    return { parent, ms: (user + system) * tickMs, endedChildrenMs: (childUser + childSystem) * tickMs }
  } catch {
    return null // It ended between the listing and the look.
  }
}

/** CPU that a process and its children, ended ones included, have used, in ms. */
export function cpuMs(root: number): number {
  const stats = new Map<number, Stat>()
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? statOf(Number(name)) : null
    if (stat) stats.set(Number(name), stat)
  }
  const own = stats.get(root)
  if (!own) return 0
  const live = [...stats].filter(([, stat]) => stat.parent === root)
  return live.reduce((sum, [pid]) => sum + cpuOfTree(pid, stats), own.ms + own.endedChildrenMs)
}

function cpuOfTree(pid: number, stats: Map<number, Stat>): number {
  const own = stats.get(pid)
  if (!own) return 0
  const children = [...stats].filter(([, stat]) => stat.parent === pid)
  return children.reduce((sum, [child]) => sum + cpuOfTree(child, stats), own.ms + own.endedChildrenMs)
}
