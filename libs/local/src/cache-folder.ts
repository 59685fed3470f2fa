import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where what is fetched once is kept for this user: `$XDG_CACHE_HOME` or the platform's own place. */
export function cacheFolder(env: NodeJS.ProcessEnv, name: string): string {
  const xdg = env['XDG_CACHE_HOME']
  const platformCache =
    process.platform === 'darwin' ? join(homedir(), 'Library', 'Caches') : join(homedir(), '.cache')
  return join(xdg === undefined || xdg === '' ? platformCache : xdg, 'headrace', name)
}
