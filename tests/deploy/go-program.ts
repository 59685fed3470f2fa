import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { access, mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A program that Go builds from its module, into the user's cache. */
export interface GoProgram {
  /** `helm`: the program's name, and with its version the folder's. */
  name: string
  /** `helm.sh/helm/v3/cmd/helm` */
  module: string
  version: string
}

/** The program's path. The first time it is built, which takes minutes. */
export async function findGoProgram({ name, module, version }: GoProgram): Promise<string> {
  const folder = await keepBuilt(`${name}-${version}`, async (gathering) => {
    await go(['install', '-ldflags=-s -w', `${module}@${version}`], { env: { GOBIN: gathering } })
  })
  return join(folder, name)
}

/**
 * A folder of this name in the user's cache, which `build` fills the first time. It is there whole or not at all,
 * however many build it at once.
 */
export async function keepBuilt(name: string, build: (folder: string) => Promise<void>): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? ''
  const folder = join(cache === '' ? join(homedir(), '.cache') : cache, 'headrace', name)
  if (await isThere(folder)) return folder
  const gathering = `${folder}.${process.pid}.${randomBytes(4).toString('hex')}`
  await mkdir(gathering, { recursive: true })
  try {
    await build(gathering)
    // Whoever was first: a folder of this name is whole.
    await rename(gathering, folder).catch(async (error: unknown) => {
      if (!(await isThere(folder))) throw error
    })
    return folder
  } finally {
    await rm(gathering, { recursive: true, force: true })
  }
}

const isThere = async (path: string): Promise<boolean> =>
  await access(path).then(
    () => true,
    () => false,
  )

/** Runs Go. Rejects with the end of what it said. */
export async function go(
  args: string[],
  { env, cwd }: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<void> {
  const child = spawn('go', args, {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, ...env, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString()}`.slice(-2_000)
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) => {
      reject(
        new Error('Helm and the like are built once with Go: install Go 1.24 or newer', { cause: error }),
      )
    })
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`go ${args.join(' ')} failed:\n${said}`)
}
