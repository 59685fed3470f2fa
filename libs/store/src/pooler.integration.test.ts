import { connect, createServer, type Server } from 'node:net'
import { createDatabase } from '@headrace/testing'
import { afterAll, expect, test } from 'vitest'
import { openStore } from './connection.ts'
import { schemaVersion } from './migrate.ts'

const { url } = await createDatabase()
const servers: Server[] = []
afterAll(() => {
  for (const server of servers) server.close()
})

/** Stands between, and drops `options` of each start: as PgBouncer does with `ignore_startup_parameters = options`. */
async function behindPooler(): Promise<string> {
  const { hostname, port } = new URL(url)
  const server = createServer((client) => {
    const postgres = connect(Number(port), hostname)
    client.once('data', (start) => {
      postgres.write(withoutOptions(start))
      client.pipe(postgres)
    })
    postgres.pipe(client)
    for (const [one, other] of [
      [client, postgres],
      [postgres, client],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('it has no port')
  const through = new URL(url)
  through.hostname = '127.0.0.1'
  through.port = String(address.port)
  return through.toString()
}

/** A StartupMessage of Postgres's protocol: its length, its version, then names and values, each ended by NUL. */
function withoutOptions(start: Buffer): Buffer {
  const words = start.subarray(8, -1).toString('utf8').split('\0').slice(0, -1)
  const kept = words.flatMap((word, n) =>
    n % 2 === 0 && word !== 'options' ? [word, words[n + 1] ?? ''] : [],
  )
  const body = Buffer.from(`${kept.join('\0')}\0\0`)
  const head = Buffer.from(start.subarray(0, 8))
  head.writeInt32BE(8 + body.length)
  return Buffer.concat([head, body])
}

test('a pooler that drops the settings of sessions is refused at the start, by its name', async () => {
  const store = openStore({ url: await behindPooler(), applicationName: 'test' })
  await store.ping()
  await expect(schemaVersion(store)).rejects.toThrow('HEADRACE_DATABASE_URL must lead to Postgres itself')
  await store.close()
  const direct = openStore({ url, applicationName: 'test' })
  expect((await schemaVersion(direct)).current).toBeGreaterThan(0)
  await direct.close()
})
