import { chmod, chown, copyFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import type { Certificate } from './certificates.ts'
import { eventually } from './eventually.ts'

/** Has a Postgres offer TLS: the files under the names that it looks for in its data, owned by whom it runs as. */
export async function offerTls(url: string, data: string, { cert, key }: Certificate): Promise<void> {
  const { uid, gid } = await stat(data)
  for (const [from, name] of [
    [cert, 'server.crt'],
    [key, 'server.key'],
  ] as const) {
    const file = join(data, name)
    await copyFile(from, file)
    await chmod(file, 0o600)
    await chown(file, uid, gid)
  }
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query('alter system set ssl = on')
  await client.query('select pg_reload_conf()')
  await eventually('it offers TLS', async () => {
    const { rows } = await client.query<{ ssl: string }>('show ssl')
    return rows[0]?.ssl === 'on'
  })
  await client.end()
}
