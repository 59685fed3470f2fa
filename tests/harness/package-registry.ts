import { createHash } from 'node:crypto'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { REPOSITORY } from '@headrace/testing'

const run = promisify(execFile)

interface Package {
  name: string
  version: string
  manifest: Record<string, unknown>
  tarball: Buffer
  files: string[]
}

export interface PackageRegistry {
  url: string
  packages: Package[]
  close(): Promise<void>
}

/** Packs the libraries as they would be published, and serves them to npm: enough of a registry for one scope. */
export async function startPackageRegistry(libraries: string[], folder: string): Promise<PackageRegistry> {
  const packages: Package[] = []
  for (const library of libraries) packages.push(await pack(library, folder))
  let url = ''
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '')
    const found = packages.find((one) => path === `/${one.name}` || path === `/${one.name}.tgz`)
    const isTarball = path.endsWith('.tgz')
    response.writeHead(found === undefined ? 404 : 200, {
      'content-type': isTarball ? 'application/octet-stream' : 'application/json',
    })
    if (found === undefined) response.end('{}')
    else response.end(isTarball ? found.tarball : JSON.stringify(packument(found, url)))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the registry has no port')
  url = `http://127.0.0.1:${address.port}`
  return {
    url,
    packages,
    async close() {
      await new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
    },
  }
}

async function pack(library: string, folder: string): Promise<Package> {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: join(REPOSITORY, 'libs', library),
  })
  // What prepack says comes first.
  const list = JSON.parse(stdout.slice(stdout.search(/^[[{]/m))) as PackReport[] | Record<string, PackReport>
  const [report] = Object.values(list)
  if (report === undefined) throw new Error(`npm pack of ${library} reported nothing`)
  const text = await readFile(join(REPOSITORY, 'libs', library, 'package.json'), 'utf8')
  return {
    name: report.name,
    version: report.version,
    manifest: JSON.parse(text) as Record<string, unknown>,
    tarball: await readFile(join(folder, report.filename)),
    files: report.files.map((file) => file.path),
  }
}

interface PackReport {
  name: string
  version: string
  filename: string
  files: { path: string }[]
}

function packument({ name, version, manifest, tarball }: Package, url: string): object {
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
  const dist = { tarball: `${url}/${name}.tgz`, integrity }
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }
}
