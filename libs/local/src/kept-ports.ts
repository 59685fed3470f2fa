import { readFile, writeFile } from 'node:fs/promises'
import { freePort, isFree } from './free-port.ts'

export interface KeepPortsOptions<Name extends string> {
  /** Where they are kept, so that a restart on the same data answers at the same address. */
  file: string
  names: readonly Name[]
  /** Ports that are not ours to choose. */
  fixed?: Partial<Record<Name, number>>
}

/** The ports of last time where they are still free, else new ones; written back to the file. */
export async function keepPorts<Name extends string>(
  options: KeepPortsOptions<Name>,
): Promise<Record<Name, number>> {
  const { file, names, fixed = {} } = options
  const kept = await readPorts(file)
  const ports: [Name, number][] = []
  for (const name of names) {
    const before = kept[name]
    const chosen: number | undefined = (fixed as Partial<Record<string, number>>)[name]
    if (chosen !== undefined) ports.push([name, chosen])
    else if (before !== undefined && (await isFree(before))) ports.push([name, before])
    else ports.push([name, await freePort()])
  }
  await writeFile(file, `${JSON.stringify(Object.fromEntries(ports))}\n`)
  return Object.fromEntries(ports) as Record<Name, number>
}

async function readPorts(file: string): Promise<Partial<Record<string, number>>> {
  try {
    const parsed: unknown = JSON.parse(await readFile(file, 'utf8'))
    if (parsed === null || typeof parsed !== 'object') return {}
    return Object.fromEntries(Object.entries(parsed).filter(([, port]) => Number.isInteger(port)))
  } catch {
    return {} // First start, or a file cut short by a crash: new ports are as good.
  }
}
