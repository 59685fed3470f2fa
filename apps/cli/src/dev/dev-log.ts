import { createWriteStream } from 'node:fs'
import { mkdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createLogger, type Logger, type LogLevel } from '@headrace/service'

/** Moved aside at the next start once it is larger. */
const LOG_BYTES_MAX = 10 * 1024 * 1024

export interface DevLog {
  forApp(name: string, level: LogLevel): Logger
  close(): Promise<void>
}

/** The apps' logs, in a file of the data folder; errors are shown in the terminal too, as one short line. */
export async function openDevLog(dataDir: string, write: (line: string) => void): Promise<DevLog> {
  const folder = join(dataDir, 'logs')
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'headrace.log')
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  )
  if (size > LOG_BYTES_MAX) await rename(file, `${file}.1`)
  const stream = createWriteStream(file, { flags: 'a' })
  const tee = {
    write(line: string): void {
      stream.write(line)
      if (!/"level":"(?:error|fatal)"/.test(line)) return
      const { msg, code, app }: { msg?: string; code?: string; app?: string } = JSON.parse(line)
      write(`! ${app ?? 'headrace'}: ${msg ?? 'an error'} (${code ?? 'no code'}; ${file})`)
    },
  }
  return {
    forApp: (name, level) => createLogger({ name, level, stream: tee }),
    close: async () => {
      await new Promise<void>((resolve) => stream.end(resolve))
    },
  }
}
