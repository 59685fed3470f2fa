import { existsSync, watch, writeFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'

/** A file that holds a step's body until the test opens it; works across processes and survives their deaths. */
export function openGate(file: string): void {
  writeFileSync(file, '')
}

export async function passGate(file: string): Promise<void> {
  if (existsSync(file)) return
  await new Promise<void>((resolve) => {
    const watcher = watch(dirname(file), (_event, name) => {
      if (name !== basename(file) || !existsSync(file)) return
      watcher.close()
      resolve()
    })
    // The gate may have been opened between the look and the watch.
    if (existsSync(file)) {
      watcher.close()
      resolve()
    }
  })
}
