import { execFile } from 'node:child_process'
import { chown, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * As whom Postgres runs. It refuses to run as root, so root lends it the system user `postgres`. That user must be
 * able to walk to the data and to the programs; where a folder on the way is closed to it (root's own home is),
 * `setpriv` gives the one capability that this takes.
 */
export type PostgresUser =
  | { kind: 'self' }
  | { kind: 'lent'; uid: number; gid: number }
  | { kind: 'privileged'; uid: number; gid: number; setpriv: string }

const NAME = 'postgres'

/** Decides as whom to run, given the paths that Postgres must reach. Makes the system user where there is none. */
export async function choosePostgresUser(paths: string[]): Promise<PostgresUser> {
  if (process.getuid?.() !== 0) return { kind: 'self' }
  const ids = (await lookUp()) ?? (await makeUser())
  const closed = await closedFolders(paths, ids)
  if (closed.length === 0) return { kind: 'lent', ...ids }
  const setpriv = await run('which', ['setpriv']).then(
    ({ stdout }) => stdout.trim(),
    () => '',
  )
  if (setpriv !== '') return { kind: 'privileged', ...ids, setpriv }
  throw new Error(
    `Postgres cannot run as root, and the user ${NAME} cannot enter ${closed.join(', ')}: ` +
      `run as another user, open the folder (chmod o+x), choose another data folder, or set HEADRACE_DATABASE_URL`,
  )
}

/** How to start a program as that user. */
export function commandAs(
  user: PostgresUser,
  command: string,
  args: string[],
): { command: string; args: string[]; user?: { uid: number; gid: number } } {
  if (user.kind === 'self') return { command, args }
  if (user.kind === 'lent') return { command, args, user: { uid: user.uid, gid: user.gid } }
  const ids = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
  // Inherited and ambient, so that it outlives the change of user and the exec.
  const capability = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override']
  return { command: user.setpriv, args: [...ids, ...capability, command, ...args] }
}

/** Gives a folder or file to that user. */
export async function giveTo(user: PostgresUser, path: string): Promise<void> {
  if (user.kind !== 'self') await chown(path, user.uid, user.gid)
}

async function lookUp(): Promise<{ uid: number; gid: number } | null> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', NAME]), run('id', ['-g', NAME])])
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  } catch {
    return null
  }
}

async function makeUser(): Promise<{ uid: number; gid: number }> {
  const ways: [string, string[]][] = [
    ['useradd', ['--system', '--user-group', '--no-create-home', NAME]],
    ['adduser', ['-S', '-D', '-H', NAME]], // busybox
  ]
  for (const [command, args] of ways) {
    await run(command, args).catch(() => undefined)
    const ids = await lookUp()
    if (ids !== null) return ids
  }
  throw new Error(
    `Postgres cannot run as root, and the system user ${NAME} could not be made: ` +
      'run as another user, or set HEADRACE_DATABASE_URL to a Postgres that runs already',
  )
}

/** The folders on the way to these paths that the user may not enter. */
async function closedFolders(paths: string[], ids: { uid: number; gid: number }): Promise<string[]> {
  const folders = new Set(paths.flatMap(ancestors))
  const closed: string[] = []
  for (const folder of folders) {
    const { mode, uid, gid } = await stat(folder)
    const bit = uid === ids.uid ? 0o100 : gid === ids.gid ? 0o010 : 0o001
    if ((mode & bit) === 0) closed.push(folder)
  }
  return closed
}

function ancestors(path: string): string[] {
  const parent = dirname(path)
  return parent === path ? [path] : [parent, ...ancestors(parent)]
}
