import { randomBytes } from 'node:crypto'
import { access, link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { processIdentity } from './process-table.ts'

/**
 * A folder that one process at a time works in.
 *
 * I1  the lock is a hard link, which either is made or is not: two starts cannot both hold it
 * I2  a lock whose process is gone (pid and start time) is stale. It is removed under a guard, a second hard link,
 *     after looking again: else a slow contender would remove the lock of whoever was faster
 */
export interface FolderLock {
  readonly path: string
  release(): Promise<void>
}

/** Another live process, maybe this one, works in this folder. */
export class DataFolderInUseError extends Error {
  readonly code = 'data_folder_in_use'
  override readonly name = 'DataFolderInUseError'
  readonly pid: number
  constructor(folder: string, pid: number) {
    super(
      `the data folder ${folder} is in use by process ${pid}; stop that one first, or choose another folder`,
    )
    this.pid = pid
  }
}

/** In every folder that we work in. */
export const LOCK_FILE = 'lock.json'
/** Says that the folder is ours. */
export const MARKER_FILE = 'headrace.json'
/** Another contender holds the guard for as long as it takes to read one file. */
const LOCK_RETRY_MS = 10
const LOCK_ATTEMPTS_MAX = 500

/** Makes the folder if need be, and takes it. Rejects with DataFolderInUseError. */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const path = resolve(folder)
  await mkdir(path, { recursive: true })
  await writeFile(join(path, MARKER_FILE), '{"made_by":"headrace","layout":1}\n')
  const lock = join(path, LOCK_FILE)
  const mine = `${lock}.${process.pid}.${randomBytes(4).toString('hex')}`
  const content = JSON.stringify({ pid: process.pid, identity: await processIdentity(process.pid) })
  await writeFile(mine, content)
  try {
    for (let attempt = 0; attempt < LOCK_ATTEMPTS_MAX; attempt += 1) {
      if (await linked(mine, lock)) return { path, release: async () => await releaseLock(lock, content) }
      const holder = await readHolder(lock)
      if (holder !== null && (await holds(holder))) throw new DataFolderInUseError(path, holder.pid)
      await removeStale(lock, mine)
    }
    throw new Error(`could not lock the data folder ${path}`)
  } finally {
    await unlink(mine).catch(ignoreAbsent)
  }
}

/** Removes the lock if it still is that of a process that is gone; or waits a moment, if another is about to. */
async function removeStale(lock: string, mine: string): Promise<void> {
  const guard = `${lock}.guard`
  if (await linked(mine, guard)) {
    try {
      // One that is absent must not be removed: it may be made, by a start that needs no guard, while we do so.
      if (!(await exists(lock))) return
      const holder = await readHolder(lock)
      if (holder === null || !(await holds(holder))) await unlink(lock).catch(ignoreAbsent)
    } finally {
      await unlink(guard).catch(ignoreAbsent)
    }
    return
  }
  const guardian = await readHolder(guard)
  // It was killed between two lines above.
  if (guardian !== null && !(await holds(guardian))) await unlink(guard).catch(ignoreAbsent)
  await delay(LOCK_RETRY_MS)
}

/** Whether the process that wrote this is still there. */
async function holds(holder: Holder): Promise<boolean> {
  return (await processIdentity(holder.pid)) === holder.identity
}

/** `end`, and then the lock's release, whatever became of `end`. */
export function thenRelease(lock: FolderLock, end: () => Promise<void>): () => Promise<void> {
  return async () => {
    try {
      await end()
    } finally {
      await lock.release()
    }
  }
}

async function releaseLock(lock: string, content: string): Promise<void> {
  const current = await readFile(lock, 'utf8').catch(() => null)
  if (current === content) await unlink(lock).catch(ignoreAbsent)
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

interface Holder {
  pid: number
  identity: string | null
}

async function readHolder(lock: string): Promise<Holder | null> {
  try {
    const parsed: unknown = JSON.parse(await readFile(lock, 'utf8'))
    if (parsed === null || typeof parsed !== 'object') return null
    const { pid, identity } = parsed as Partial<Holder>
    return typeof pid === 'number' && typeof identity === 'string' ? { pid, identity } : null
  } catch {
    return null
  }
}

/** The pid of the live process that works in this folder, or null. */
export async function folderHolder(folder: string): Promise<number | null> {
  const holder = await readHolder(join(folder, LOCK_FILE))
  if (holder === null) return null
  return (await holds(holder)) ? holder.pid : null
}

/** Whether there is such a file or folder. */
export async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}

/** The `code` of a system error, else null. */
export function errorCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
}

function ignoreAbsent(error: unknown): void {
  if (errorCode(error) !== 'ENOENT') throw error
}
