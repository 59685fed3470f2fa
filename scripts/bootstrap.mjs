// Runs before `npm start`, `npm test` and `npm run check`: installs what the lockfile says, if it is not there.
// Plain JavaScript without dependencies, for any Node from 18 on: on a fresh clone there is nothing else yet.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const LOCK_POLL_MS = 200
/** `npm ci` takes a minute on a slow line; a lock older than this belongs to nobody. */
const LOCK_WAIT_MS = 15 * 60_000
/** A folder is made before its pid is written into it; after this many looks there was nobody to write it. */
const NAMELESS_LOOKS_MAX = 25

/**
 * Why `npm ci` has to run, or null. Compares the lockfile with the record that npm keeps of what it installed.
 * Packages for other platforms (optional ones) may be missing.
 *
 * @param {string} lockText package-lock.json
 * @param {string | null} installedText node_modules/.package-lock.json, null when absent
 */
export function whyInstall(lockText, installedText) {
  if (installedText === null) return 'node_modules is not there yet'
  const wanted = JSON.parse(lockText).packages ?? {}
  let installed
  try {
    installed = JSON.parse(installedText).packages ?? {}
  } catch {
    return 'node_modules was not installed to the end'
  }
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) continue
    const there = installed[path]
    if (there === undefined) {
      if (entry.optional || entry.devOptional) continue
      return `${path} is not installed`
    }
    if (there.version !== entry.version || there.integrity !== entry.integrity) return `${path} has changed`
  }
  for (const path of Object.keys(installed)) {
    if (wanted[path] === undefined) return `${path} is no longer in the lockfile`
  }
  return null
}

/** @param {string} root the repository's folder */
export function bootstrap(root) {
  if (upToDate(root) === null) return
  const release = lock(join(root, '.cache', 'bootstrap.lock'))
  try {
    // Another may have installed while we waited.
    const why = upToDate(root)
    if (why === null) return
    process.stderr.write(`Installing dependencies (npm ci): ${why}\n`)
    install(root)
    remember(root)
  } finally {
    release()
  }
}

/** Why `npm ci` has to run, or null. The usual case costs the hash of one file. */
function upToDate(root) {
  const lockText = readFileSync(join(root, 'package-lock.json'), 'utf8')
  if (readOrNull(stampFile(root)) === hash(lockText)) return null
  const why = whyInstall(lockText, readOrNull(join(root, 'node_modules', '.package-lock.json')))
  if (why === null) remember(root)
  return why
}

/** In node_modules, so that it goes when that goes. */
function stampFile(root) {
  return join(root, 'node_modules', '.headrace-lock-hash')
}

function remember(root) {
  writeFileSync(stampFile(root), hash(readFileSync(join(root, 'package-lock.json'), 'utf8')))
}

function install(root) {
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  const npm = process.env.npm_execpath
  // The npm that runs us, if one does; its own output goes to stderr, so that our stdout stays the program's.
  const [command, all] = npm?.endsWith('.js') ? [process.execPath, [npm, ...args]] : ['npm', args]
  const options = {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32' && command === 'npm',
  }
  const { status, error } = spawnSync(command, all, options)
  if (error) throw error
  if (status !== 0) {
    process.stderr.write(`npm ci failed (exit code ${status}); run it by hand to see more\n`)
    process.exit(1)
  }
}

/**
 * Takes the lock, or waits for it: making a folder succeeds for one. A lock whose process is gone is removed.
 * Returns its release.
 */
function lock(folder) {
  mkdirSync(dirname(folder), { recursive: true })
  const pidFile = join(folder, 'pid')
  const endMs = Date.now() + LOCK_WAIT_MS
  let said = false
  let nameless = 0
  while (true) {
    try {
      mkdirSync(folder)
      writeFileSync(pidFile, String(process.pid))
      return () => rmSync(folder, { recursive: true, force: true })
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const pid = Number(readOrNull(pidFile) ?? 0)
    nameless = pid === 0 ? nameless + 1 : 0
    const gone = pid === 0 ? nameless > NAMELESS_LOOKS_MAX : !isAlive(pid)
    if (gone || Date.now() > endMs) {
      rmSync(folder, { recursive: true, force: true })
      continue
    }
    if (!said && pid !== 0) process.stderr.write(`Waiting for process ${pid}, which installs dependencies\n`)
    said = said || pid !== 0
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_POLL_MS)
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function readOrNull(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

function hash(text) {
  return createHash('sha256').update(text).digest('hex')
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  bootstrap(join(dirname(fileURLToPath(import.meta.url)), '..'))
}
