import { readFileSync } from 'node:fs'

/** A process's resident memory in MiB, as Linux counts it. */
export function residentMib(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Math.round(Number(match?.[1] ?? Number.NaN) / 1_024)
}
