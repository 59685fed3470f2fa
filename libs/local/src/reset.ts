import { rm, rmdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import {
  DataFolderInUseError,
  errorCode,
  exists,
  folderHolder,
  LOCK_FILE,
  MARKER_FILE,
} from './data-folder.ts'
import { removeDockerKafka } from './kafka-docker.ts'

/** Everything that we ever make in a data folder, and so all that a reset deletes. */
const OUR_ENTRIES = ['kafka', 'postgres', 'registry', 'logs', LOCK_FILE, MARKER_FILE]

/**
 * Deletes what Headrace made in this folder (and, where Kafka ran in Docker, its volume), and the folder itself if
 * that leaves it empty. A folder that does not carry our marker is left alone. Call it with the folder unlocked;
 * rejects with DataFolderInUseError otherwise.
 */
export async function resetDataFolder(folder: string, env: NodeJS.ProcessEnv = process.env): Promise<void> {
  const path = resolve(folder)
  if (!(await exists(join(path, MARKER_FILE)))) return
  const holder = await folderHolder(path)
  if (holder !== null) throw new DataFolderInUseError(path, holder)
  await removeDockerKafka(join(path, 'kafka'), env)
  for (const entry of OUR_ENTRIES) await rm(join(path, entry), { recursive: true, force: true })
  await rmdir(path).catch((error: unknown) => {
    if (errorCode(error) !== 'ENOTEMPTY' && errorCode(error) !== 'EEXIST') throw error
  })
}
